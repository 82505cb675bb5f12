"""The service proxy on nftables, facts to kernel, against a chain per service loaded by `nft -f`.

Both program the same services with four endpoints each into a network namespace of their own, from empty, and then
change one of them. The baseline is the plain layout, one chain a service and one an endpoint, as kube-proxy has it.
Figures are CPU (user and system, of this process and of children).
"""

import asyncio
import gc
import json
import subprocess
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import Figure, Say, measured, median, resident, scaled
from clew.base.clock import SystemClock
from clew.dataplane.nftables.apply import open_backends
from clew.facts import endpointslice, service
from clew.facts.node import Node
from clew.kernel import netns
from clew.kernel.conntrack import FakeConntrack
from clew.node.proxy import ProxyPorts, ProxySettings, ProxyTables, ServiceProxy
from clew.reconcile import Turn
from clew.store import Table

ENDPOINTS = 4
CHANGES = 100


def vip(number: int) -> str:
    return f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def pod(number: int, index: int) -> str:
    place = number * ENDPOINTS + index
    return f"10.{128 + (place >> 16)}.{place >> 8 & 255}.{place & 255}"


def service_bytes(number: int) -> bytes:
    return json.dumps({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"service-{number}", "namespace": "default", "uid": f"{number:032x}",
            "resourceVersion": str(number), "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"app": "web"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": vip(number), "clusterIPs": [vip(number)], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
        },
        "status": {"loadBalancer": {}},
    }).encode()  # fmt: skip


def slice_bytes(number: int, endpoints: int = ENDPOINTS) -> bytes:
    return json.dumps({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"service-{number}-abcde", "namespace": "default", "uid": f"{number:032x}",
            "labels": {"kubernetes.io/service-name": f"service-{number}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [pod(number, index)], "nodeName": f"node-{index}", "zone": "a",
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "name": f"web-{number}-{index}", "namespace": "default"},
            }
            for index in range(endpoints)
        ],
    }).encode()  # fmt: skip


class Ours:
    """The proxy with everything but the reflectors' connections."""

    def __init__(self, ns: Path) -> None:
        self.tables = ProxyTables(Table("services"), Table("slices"), Table("nodes"))
        self.tables.nodes.replace({("", "node-1"): Node("node-1")})
        ports = ProxyPorts(partial(open_backends, ns), FakeConntrack())
        settings = ProxySettings("node-1", families=(4,), pod_cidrs=("10.128.0.0/9",))
        self.proxy = ServiceProxy(self.tables, settings, ports, SystemClock())
        self._loop = asyncio.new_event_loop()

    def load(self, count: int) -> tuple[float, float]:
        """Everything from empty: seconds for decoding, seconds from facts to the kernel."""
        documents = [(service_bytes(number), slice_bytes(number)) for number in range(count)]
        gc.collect()
        gc.disable()  # as the reflector does around a list

        def decode() -> None:
            self.tables.services.replace(dict(service.decode(each) for each, _ in documents))  # type: ignore[arg-type]
            self.tables.slices.replace(dict(endpointslice.decode(each) for _, each in documents))  # type: ignore[arg-type]

        decoding = measured(decode).cpu
        gc.enable()
        return decoding, measured(self.sync).cpu

    def sync(self, turn: Turn = Turn.CHANGE) -> None:
        self._loop.run_until_complete(self.proxy.sync(turn))

    def change(self, number: int, endpoints: int) -> None:
        """From the bytes of a watch event to the kernel."""
        self.tables.slices.put(*endpointslice.decode(slice_bytes(number, endpoints)))
        self.sync()


def baseline_chains(numbers: Iterable[int]) -> Iterator[str]:
    for number in numbers:
        for index in range(ENDPOINTS):
            yield f"add chain ip kp ep-{number}-{index}"
            yield f"add rule ip kp ep-{number}-{index} ip saddr {pod(number, index)} jump mark-masq"
            yield f"add rule ip kp ep-{number}-{index} meta l4proto tcp dnat to {pod(number, index)}:8080"
        ways = ", ".join(f"{index} : goto ep-{number}-{index}" for index in range(ENDPOINTS))
        yield f"add chain ip kp svc-{number}"
        yield f"add rule ip kp svc-{number} ip saddr != 10.128.0.0/9 jump mark-masq"
        yield f"add rule ip kp svc-{number} numgen random mod {ENDPOINTS} vmap {{ {ways} }}"
        yield f"add element ip kp services {{ {vip(number)} . tcp . 80 : goto svc-{number} }}"


def baseline_script(count: int) -> str:
    return "\n".join(
        [
            "add table ip kp",
            "add map ip kp services { type ipv4_addr . inet_proto . inet_service : verdict; }",
            "add chain ip kp mark-masq",
            "add rule ip kp mark-masq meta mark set meta mark | 0x4000",
            "add chain ip kp pre { type nat hook prerouting priority -100; }",
            "add rule ip kp pre ip daddr . meta l4proto . th dport vmap @services",
            *baseline_chains(range(count)),
        ]
    )


def nft(ns: Path, script: str) -> None:
    subprocess.run(["nsenter", f"--net={ns}", "nft", "-f", "-"], input=script.encode(), check=True)


def baseline(folder: Path, count: int) -> tuple[float, float]:
    """Seconds of CPU from empty, and for one service more."""
    path = folder / "baseline"
    netns.create(path)
    try:
        script = baseline_script(count)
        whole = measured(lambda: nft(path, script)).cpu
        more = ["\n".join(baseline_chains([at])) for at in range(count, count + 5)]
        return whole, median(measured(lambda text=each: nft(path, text)).cpu for each in more)  # type: ignore[misc]
    finally:
        netns.delete(path)


def ours(folder: Path, count: int) -> dict[str, float]:
    """Seconds of CPU for each step; memory in MiB."""
    path = folder / f"ours-{count}"
    netns.create(path)
    try:
        proxy = Ours(path)
        decoding, whole = proxy.load(count)
        idle = median(measured(proxy.sync).cpu for _ in range(20))
        changes = [(number * 7 % count, 3 if number % 2 else 2) for number in range(CHANGES)]
        one = median(measured(lambda a=at, b=size: proxy.change(a, b)).cpu for at, size in changes)  # type: ignore[misc]
        after = median(measured(proxy.sync).cpu for _ in range(20))
        look = measured(lambda: proxy.sync(Turn.PERIODIC)).cpu
        return {
            "decode": decoding, "whole": whole, "idle": idle, "one": one, "after": after, "look": look,
            "memory": resident(),
        }  # fmt: skip
    finally:
        netns.delete(path)


BASELINE = "nft -f, a chain a service"


def figures(scale: float, say: Say) -> Iterator[Figure]:
    """At a tenth, the whole and three times 10,000 services."""
    count = scaled(10_000, scale, 10)
    at = f"{count:,} services"
    with TemporaryDirectory() as name:
        folder = Path(name)
        say(f"{at}: a tenth of them first, to see what grows")
        small = ours(folder, scaled(count, 0.1, 3))
        mine = ours(folder, count)
        yield Figure(f"{at}: the process", mine["memory"], "MiB", goal=250)
        yield Figure(f"{at}: documents decoded into facts", mine["decode"], "s")
        yield Figure(
            f"{at}: a sync with nothing to do, after churn", mine["after"] * 1e6, "µs", mine["idle"] * 1e6, "before"
        )
        yield Figure(f"{at}: periodic look at the kernel", mine["look"] * 1e3, "ms")
        say("the baseline: this takes the longest")
        whole, one = baseline(folder, count)
        yield Figure(f"{at}: from empty to kernel", mine["whole"], "s", whole, BASELINE, goal=1.5)
        change = mine["one"] * 1e3
        yield Figure(f"{at}: one slice changed, bytes to kernel", change, "ms", one * 1e3, BASELINE, goal=5)
        say("three times as many")
        big = ours(folder, 3 * count)
        yield Figure(f"{3 * count:,} services: from empty to kernel", big["whole"], "s")
        yield Figure(
            f"{3 * count:,} services: one slice changed", big["one"] * 1e3, "ms", small["one"] * 1e3, "at a thirtieth"
        )
