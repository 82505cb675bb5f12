"""Services by the thousand, as bytes of the API and in a proxy: what the benchmarks of services have in common."""

import gc
import json
from functools import partial
from pathlib import Path

import uvloop

from bench.figures import measured
from clew.base.clock import SystemClock
from clew.facts import endpointslice, service
from clew.facts.node import Node
from clew.kernel.conntrack import FakeConntrack
from clew.node import proxy_modes
from clew.node.proxy import ProxyPorts, ProxySettings, ProxyTables, ServiceProxy
from clew.reconcile import Turn
from clew.store import Table

ENDPOINTS = 4


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

    def __init__(self, ns: Path, mode: str) -> None:
        self.tables = ProxyTables(Table("services"), Table("slices"), Table("nodes"))
        self.tables.nodes.replace({("", "node-1"): Node("node-1")})
        ports = ProxyPorts(partial(proxy_modes.MODES[mode].open, ns), FakeConntrack())
        settings = ProxySettings("node-1", families=(4,), pod_cidrs=("10.128.0.0/9",))
        self.proxy = ServiceProxy(self.tables, settings, ports, SystemClock())
        self.proxy.prepare()
        self.loop = uvloop.new_event_loop()  # as the agent's

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
        self.loop.run_until_complete(self.proxy.sync(turn))

    def close(self) -> None:
        """Nothing of it is left, also where the mode has things outside of the network namespace."""
        self.proxy.remove()
        self.proxy.close()
        self.loop.close()

    def change(self, number: int, endpoints: int) -> None:
        """From the bytes of a watch event to the kernel."""
        self.tables.slices.put(*endpointslice.decode(slice_bytes(number, endpoints)))
        self.sync()
