"""The service proxy against a chain per service: `python -m bench.services [SERVICES]`, as root.

Both program the same services with four endpoints each into a network namespace of their own, from empty, and then
change one of them. The baseline is the plain layout, one chain a service and one an endpoint, loaded by `nft -f` as
kube-proxy does. Figures are CPU (user and system, of this process and of children) and medians; ratios hold better than
times.
"""

import asyncio
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

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


def cpu() -> float:
    """Seconds used so far by this process and its finished children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measured(action: Callable[[], object]) -> float:
    before = cpu()
    action()
    return cpu() - before


def memory() -> int:
    """Resident MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


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

        decoding = measured(decode)
        gc.enable()
        return decoding, measured(self.sync)

    def sync(self, turn: Turn = Turn.CHANGE) -> None:
        self._loop.run_until_complete(self.proxy.sync(turn))

    def change(self, number: int, endpoints: int) -> None:
        """From the bytes of a watch event to the kernel."""
        self.tables.slices.put(*endpointslice.decode(slice_bytes(number, endpoints)))
        self.sync()


def baseline_chains(numbers: Iterator[int] | range) -> Iterator[str]:
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
        whole = measured(lambda: nft(path, script))
        one = statistics.median(
            measured(lambda at=at: nft(path, "\n".join(baseline_chains(range(at, at + 1)))))  # type: ignore[misc]
            for at in range(count, count + 5)
        )
        return whole, one
    finally:
        netns.delete(path)


def ours(folder: Path, count: int) -> tuple[float, float]:
    """Seconds of CPU from empty (facts to kernel), and for one changed slice (bytes to kernel)."""
    path = folder / f"ours-{count}"
    netns.create(path)
    try:
        proxy = Ours(path)
        decoding, whole = proxy.load(count)
        idle = statistics.median(measured(proxy.sync) for _ in range(20))
        times, walls = [], []
        for number in range(CHANGES):
            began = time.perf_counter()
            times.append(measured(lambda at=number: proxy.change(at * 7 % count, 3 if at % 2 else 2)))  # type: ignore[misc]
            walls.append(time.perf_counter() - began)
        idle_after = statistics.median(measured(proxy.sync) for _ in range(20))
        look = measured(lambda: proxy.sync(Turn.PERIODIC))
        print(
            f"clew, {count:6d} services: decode {decoding:5.2f} s, from empty {whole:5.2f} s,"
            f" one change {statistics.median(times) * 1e3:5.2f} ms ({statistics.median(walls) * 1e3:.2f} ms of time),"
            f" idle sync {idle * 1e6:.0f} µs, after churn {idle_after * 1e6:.0f} µs,"
            f" periodic look {look * 1e3:.2f} ms, {memory()} MiB"
        )
        return whole, statistics.median(times)
    finally:
        netns.delete(path)


def main(count: int = 10_000) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {each: ours(folder, each) for each in dict.fromkeys((count // 10, count, 3 * count))}
        whole, one = baseline(folder, count)
        print(f"chain per service, {count} services: from empty {whole:5.2f} s, one change {one * 1e3:5.1f} ms")
        mine = figures[count]
        print(f"ratios: from empty {whole / mine[0]:.0f} times less, one change {one / mine[1]:.0f} times less")
        growth = figures[3 * count][1] / figures[count // 10][1]
        print(f"one change at {3 * count} services costs {growth:.2f} times what it costs at {count // 10}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
