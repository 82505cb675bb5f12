"""One service added: from the API write to the rules in a node's kernel, against the write alone.

The real API server (HTTPS, durable storage) in a process of its own, the real agent as a process in a node's namespace
with a client certificate, and the kernel's own notices of what nftables commits: what a lab of one node does, without
the pods. Three kinds of change are timed, each after the one before has settled.
"""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import uvloop
from tests.ports.node.conftest import ROUTERS, Lab, Node

from bench.api_process import PORT
from bench.children import child, told
from bench.figures import Figure, Say, median, process_cpu, resident, scaled
from clew.api.kinds import ENDPOINT_SLICE, NODE, SERVICE
from clew.api.objects import Object
from clew.app.kubeconfig import entry
from clew.cluster.ca import Authority, client_tls
from clew.kernel import netns
from clew.watch.client import Client

NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 7  # include/uapi/linux/netfilter/nfnetlink.h
ENDPOINTS, WRITERS, PATIENCE = 4, 16, 30.0


class Kernel:
    """What nftables tells of its commits in a namespace."""

    def __init__(self, ns: Path) -> None:
        self._socket = netns.socket_in(ns, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        self._socket.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))

    def until(self, address: str) -> float:
        """When the first commit was told that names an IPv4 address. TimeoutError."""
        wanted, deadline = socket.inet_aton(address), time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._socket.settimeout(PATIENCE)
            data = self._socket.recv(1 << 17)
            if wanted in data:
                return time.perf_counter()
        raise TimeoutError(f"{address} never came to the kernel")

    def quiet(self, seconds: float) -> None:
        """Until nothing was committed for that long."""
        self._socket.settimeout(seconds)
        with suppress(TimeoutError):
            while True:
                self._socket.recv(1 << 17)

    def close(self) -> None:
        self._socket.close()


def service(number: int) -> Object:
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": f"s-{number}", "namespace": "default"},
        "spec": {"clusterIP": vip(number), "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }  # fmt: skip


def endpoint_slice(number: int, count: int = ENDPOINTS) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": f"s-{number}-abcde", "namespace": "default",
            "labels": {"kubernetes.io/service-name": f"s-{number}"},
        },
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [pod(number, place)], "conditions": {"ready": True}, "nodeName": "elsewhere"}
            for place in range(count)
        ],
    }  # fmt: skip


def vip(number: int) -> str:
    return f"10.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def pod(number: int, place: int) -> str:
    at = number * 8 + place
    return f"10.{128 + (at >> 16)}.{at >> 8 & 255}.{at & 255}"


class Cluster(NamedTuple):
    client: Client
    kernel: Kernel
    server: int  # processes
    agent: int


class Costs(NamedTuple):
    """Of one kind of change; milliseconds."""

    write: float
    kernel: float
    server_cpu: float
    agent_cpu: float


async def fill(client: Client, numbers: range) -> None:
    """Services with their endpoints, some requests side by side."""
    left = iter(numbers)

    async def writer() -> None:
        for number in left:
            await client.create(ENDPOINT_SLICE, endpoint_slice(number), "default")
            await client.create(SERVICE, service(number), "default")

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(writer())


def start_agent(node: Node, authority: Authority) -> int:
    """The agent with its own role's certificate; its process id once pods could be attached."""
    credential = authority.client("system:node-agent", ("system:masters",))
    url = f"https://{ROUTERS[4]}:{PORT}"
    (node.root / "kubeconfig").write_text(json.dumps(entry("bench", url, authority.ca_pem, *credential)))
    agent = {
        "apiVersion": "clew.dev/v1alpha1", "kind": "AgentConfiguration", "clusterCIDRs": ["10.244.0.0/16"],
        "kubeconfig": str(node.root / "kubeconfig"), "socketPath": str(node.root / "cni.sock"),
        "stateDir": str(node.root / "state"), "cniBinDir": str(node.root / "bin"), "cniConfFile": str(node.conflist),
    }  # fmt: skip
    proxy = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
    (node.root / "config.yaml").write_text(json.dumps(agent) + "\n---\n" + json.dumps(proxy))
    node.launch()
    assert node.agent is not None
    return node.agent.pid


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"it never came to pass: {what}"
        await asyncio.sleep(0.02)


async def cluster(stack: AsyncExitStack, folder: Path, count: int, say: Say) -> Cluster:
    """`count` services in the API server and in the node's kernel."""
    cleanup = stack.enter_context(ExitStack())
    lab = Lab(folder, (4,), cleanup)
    node = lab.node(1, publish=False)
    authority = Authority.ensure(folder / "pki")
    server = cleanup.enter_context(child("bench.api_process", str(folder), str(lab.fabric), ROUTERS[4]))
    url = f"https://127.0.0.1:{told(server)}"
    client = Client(url, ssl=client_tls(authority.ca_pem, authority.client("admin", ("system:masters",))))
    await stack.enter_async_context(client)
    await client.create(NODE, {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name}, "spec": {"podCIDRs": list(node.cidrs)},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.30.0.11"}]},
    })  # fmt: skip
    say(f"{count:,} services with {ENDPOINTS} endpoints each into the API server")
    await fill(client, range(count))
    kernel = Kernel(node.ns)
    cleanup.callback(kernel.close)
    agent = start_agent(node, authority)
    await until(node.conflist.exists, "pods can be attached")
    await asyncio.to_thread(kernel.quiet, 1.0)
    return Cluster(client, kernel, server.pid, agent)


async def changes(at: Cluster, numbers: range, write: Callable[[int], Any], told: Callable[[int], str]) -> Costs:
    """One write after the other, each followed to the kernel."""
    walls: list[tuple[float, float]] = []
    before = process_cpu(at.server), process_cpu(at.agent)
    for number in numbers:
        committed = asyncio.ensure_future(asyncio.to_thread(at.kernel.until, told(number)))
        await asyncio.sleep(0.05)  # the change before has settled, the thread listens
        began = time.perf_counter()
        await write(number)
        answered = time.perf_counter()
        walls.append((answered - began, await committed - began))
    each = 1e3 / len(numbers)
    server, agent = process_cpu(at.server) - before[0], process_cpu(at.agent) - before[1]
    return Costs(*(median(column) * 1e3 for column in zip(*walls, strict=True)), server * each, agent * each)


async def measured(scale: float, say: Say) -> list[Figure]:
    count, times = scaled(10_000, scale, 20), scaled(100, scale, 5)
    async with AsyncExitStack() as stack:
        at = await cluster(stack, Path(stack.enter_context(TemporaryDirectory())), count, say)
        found = [
            Figure(f"{count:,} services: the agent's memory", resident(at.agent), "MiB", goal=250),
            Figure(f"{count:,} services: the API server's memory", resident(at.server), "MiB"),
        ]
        say("changes, one after the other")
        fresh = range(count, count + times)
        for number in fresh:
            await at.client.create(ENDPOINT_SLICE, endpoint_slice(number), "default")
        added = await changes(at, fresh, lambda n: at.client.create(SERVICE, service(n), "default"), vip)
        grown = await changes(at, range(times), lambda n: grow(at.client, n), lambda n: pod(n, ENDPOINTS))
        gone = await changes(at, fresh, lambda n: at.client.delete(SERVICE, f"s-{n}", "default"), vip)
    found += costs_of("a service added", added, 20)
    found += costs_of("an endpoint more", grown, None)
    return [*found, *costs_of("a service deleted", gone, None)]


async def grow(client: Client, number: int) -> None:
    change = {"endpoints": endpoint_slice(number, ENDPOINTS + 1)["endpoints"]}
    await client.patch(ENDPOINT_SLICE, f"s-{number}-abcde", change, "default")


def costs_of(what: str, costs: Costs, goal: float | None) -> list[Figure]:
    return [
        Figure(f"{what}: API write to kernel", costs.kernel, "ms", costs.write, "until the write is answered", goal),
        Figure(f"{what}: CPU of the API server", costs.server_cpu, "ms"),
        Figure(f"{what}: CPU of the agent", costs.agent_cpu, "ms"),
    ]


def figures(scale: float, say: Say) -> Iterator[Figure]:
    yield from uvloop.run(measured(scale, say))
