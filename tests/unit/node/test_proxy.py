"""The proxy's loop on the fake kernel: what it waits for, what it writes, what it tells."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from clew.base.metrics import Registry
from clew.dataplane.nftables.apply import Backend
from clew.dataplane.nftables.layout import TABLE
from clew.facts import endpointslice, service
from clew.facts.node import Node
from clew.facts.servicecidr import ServiceCidr
from clew.kernel.conntrack import FakeConntrack, Flow
from clew.kernel.nft import ElementSet, FakeNft, NftError
from clew.node.proxy import ProxyPorts, ProxySettings, ProxyTables, ServiceProxy
from clew.node.service_ranges import ServiceRanges
from clew.reconcile import Turn
from clew.store import Table

if TYPE_CHECKING:
    from clew.base.errors import Problem

ENDPOINTS = ElementSet("ip", TABLE, "endpoints", 8, 8)
SERVICES = ElementSet("ip", TABLE, "service-ips", 12, 4)
RANGES = ElementSet("ip", TABLE, "service-ranges", 8, 0, interval=True)
VIP = "10.96.0.10"


class Hands:
    """A clock that stands still until moved."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, wake))
        await wake

    def move(self, seconds: float) -> None:
        self.time += seconds
        for when, wake in self._sleepers:
            if when <= self.time and not wake.done():
                wake.set_result(None)


def ports(nft: FakeNft, conntrack: FakeConntrack) -> ProxyPorts:
    return ProxyPorts(lambda settings: [Backend(nft, each) for each in settings], conntrack)


class Node1:
    """A proxy with all that it needs, and the objects of a small cluster."""

    def __init__(self, nft: FakeNft | None = None, conntrack: FakeConntrack | None = None) -> None:
        self.clock = Hands()
        self.nft = nft or FakeNft()
        self.conntrack = conntrack or FakeConntrack()
        self.tables = ProxyTables(Table("services"), Table("slices"), Table("nodes"), ServiceRanges())
        self.registry = Registry()
        self.problems: list[Problem] = []
        self.proxy = ServiceProxy(
            self.tables,
            ProxySettings("node-1", pod_cidrs=("10.244.0.0/16",), service_cidrs=("10.96.0.0/12",), least=0.0),
            ports(self.nft, self.conntrack),
            self.clock,
            self.registry,
            self.problems.append,
        )

    def in_sync(self, *ranges: str) -> None:
        self.tables.ranges.table.replace({("", each): ServiceCidr(each, (each,)) for each in ranges})
        self.tables.nodes.replace({("", "node-1"): Node("node-1", ("172.30.0.11",))})
        self.tables.services.replace(dict(self.tables.services.items()))
        self.tables.slices.replace(dict(self.tables.slices.items()))

    def put_service(self, name: str = "web", protocol: str = "TCP", **spec: Any) -> None:
        fact = service.from_api(
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"clusterIP": VIP, "ports": [{"port": 80, "protocol": protocol}], **spec},
            }
        )
        self.tables.services.put(fact.key, fact)

    def put_slice(self, *addresses: str, name: str = "web", protocol: str = "TCP", changed: str = "") -> None:
        fact = endpointslice.from_api(
            {
                "metadata": {
                    "name": f"{name}-1",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": name},
                    "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": changed} if changed else {},
                },
                "ports": [{"name": "", "port": 8080, "protocol": protocol}],
                "endpoints": [{"addresses": [address], "nodeName": "node-2"} for address in addresses],
            }
        )
        self.tables.slices.put(fact.key, fact)

    def backends(self) -> set[str]:
        found = self.nft.elements(ENDPOINTS).values()
        return {".".join(map(str, value[:4])) for value in found}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.proxy.run())
            try:
                yield
            finally:
                task.cancel()

    async def until(self, condition: Any) -> None:
        """Let the loop and its threads run until something is so."""
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110  the condition is the fake kernel's, which tells nobody
                await asyncio.sleep(0)


@pytest.fixture
def node() -> Node1:
    return Node1()


async def test_nothing_is_written_before_every_first_list(node: Node1) -> None:
    node.put_service()
    node.put_slice("10.0.0.1")
    async with node.running():
        node.tables.services.replace(dict(node.tables.services.items()))
        node.tables.nodes.replace({("", "node-1"): Node("node-1")})
        for _ in range(50):
            await asyncio.sleep(0)
        assert node.nft.writes == []
        node.tables.slices.replace(dict(node.tables.slices.items()))
        node.tables.ranges.table.replace({})
        await node.until(node.proxy.in_sync.is_set)
        assert node.backends() == {"10.0.0.1"}


async def test_an_earlier_agents_services_survive_until_the_lists_are_here(node: Node1) -> None:
    node.put_service()
    node.put_slice("10.0.0.1")
    node.in_sync()
    await node.proxy.sync()
    restarted = Node1(node.nft)
    writes = len(node.nft.writes)
    async with restarted.running():
        for _ in range(50):
            await asyncio.sleep(0)
        assert node.backends() == {"10.0.0.1"}
        restarted.put_service()
        restarted.put_slice("10.0.0.1")
        restarted.in_sync()
        await restarted.until(restarted.proxy.in_sync.is_set)
    assert len(node.nft.writes) == writes, "a restart changes nothing that is right"


async def test_changes_reach_the_kernel_as_they_come(node: Node1) -> None:
    node.in_sync()
    async with node.running():
        await node.until(node.proxy.in_sync.is_set)
        node.put_slice("10.0.0.1")
        node.put_service()
        await node.until(lambda: node.backends() == {"10.0.0.1"})
        node.put_slice("10.0.0.1", "10.0.0.2")
        await node.until(lambda: node.backends() == {"10.0.0.1", "10.0.0.2"})
        node.tables.slices.put(("default", "web-1"), None)
        await node.until(lambda: node.backends() == set())
        node.tables.services.put(("default", "web"), None)
        await node.until(lambda: not node.nft.elements(ElementSet("ip", TABLE, "cluster-ips", 4, 0)))


async def test_a_slice_that_moves_to_another_service_leaves_the_first(node: Node1) -> None:
    node.put_service()
    node.put_service("other", clusterIP="10.96.0.11")
    node.put_slice("10.0.0.1")
    node.in_sync()
    await node.proxy.sync()
    moved = endpointslice.from_api(
        {
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "other"}},
            "ports": [{"name": "", "port": 8080}],
            "endpoints": [{"addresses": ["10.0.0.1"]}],
        }
    )
    node.tables.slices.put(moved.key, moved)
    await node.proxy.sync()
    (key,) = node.nft.elements(SERVICES)
    assert key[:4] == bytes((10, 96, 0, 11))


async def test_a_refusal_is_tried_again_and_nothing_is_lost() -> None:
    refusals = iter([NftError(errno.EBUSY, "busy"), NftError(errno.ENOBUFS, "full")])
    node = Node1(FakeNft(lambda _: next(refusals, None)))
    node.put_service()
    node.put_slice("10.0.0.1")
    node.in_sync()
    async with node.running():
        failed = 'kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 1'
        await node.until(lambda: failed in node.registry.render())
        assert not node.proxy.in_sync.is_set()
        while not node.proxy.in_sync.is_set():
            node.clock.move(1.0)
            for _ in range(20):
                await asyncio.sleep(0)
    assert node.backends() == {"10.0.0.1"}


async def test_what_somebody_deleted_comes_back_with_the_next_periodic_sync(node: Node1) -> None:
    node.put_service()
    node.put_slice("10.0.0.1")
    node.in_sync()
    async with node.running():
        await node.until(node.proxy.in_sync.is_set)
        right = node.nft.listing("ip", TABLE)
        node.nft.run("flush chain ip clew-proxy services")
        for _ in range(20):
            await asyncio.sleep(0)
        node.clock.move(31.0)
        await node.until(lambda: node.nft.listing("ip", TABLE) == right)


async def test_problems_are_told_once_and_forgotten_when_they_are_solved(node: Node1) -> None:
    node.put_service(externalIPs=["nonsense"])
    node.in_sync()
    await node.proxy.sync()
    await node.proxy.sync(Turn.PERIODIC)
    assert [problem.field for problem in node.problems] == ["spec.externalIPs[0]"]
    assert node.proxy.problems == tuple(node.problems)
    node.put_service()
    await node.proxy.sync()
    assert node.proxy.problems == ()


async def test_a_wrong_service_does_not_keep_the_others_out(node: Node1) -> None:
    key, wrong = service.decode(b'{"metadata": {"name": "bad", "namespace": "default"}, "spec": {"ports": "none"}}')
    node.tables.services.put(key, wrong)
    node.put_service()
    node.put_slice("10.0.0.1")
    node.in_sync()
    await node.proxy.sync()
    assert node.backends() == {"10.0.0.1"}
    assert [problem.origin for problem in node.problems] == ["Service default/bad"]


async def test_a_node_that_moves_to_another_zone_chooses_anew(node: Node1) -> None:
    node.put_service()
    fact = endpointslice.from_api(
        {
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "east"}]}},
                {"addresses": ["10.0.0.2"], "hints": {"forZones": [{"name": "west"}]}},
            ],
        }
    )
    node.tables.slices.put(fact.key, fact)
    node.in_sync()
    await node.proxy.sync()
    assert node.backends() == {"10.0.0.1", "10.0.0.2"}
    node.tables.nodes.put(("", "node-1"), Node("node-1", ("172.30.0.11",), zone="west"))
    await node.proxy.sync()
    assert node.backends() == {"10.0.0.2"}


def udp_flow(answers: str) -> Flow:
    return Flow(4, "UDP", "10.244.0.9", 4000, VIP, 80, answers, 8080)


async def test_udp_flows_of_a_backend_that_left_are_forgotten_after_the_rules_are_in(node: Node1) -> None:
    node.put_service(protocol="UDP")
    node.put_slice("10.0.0.1", "10.0.0.2", protocol="UDP")
    node.in_sync()
    await node.proxy.sync()
    node.conntrack.table = [udp_flow("10.0.0.1"), udp_flow("10.0.0.2")]
    node.put_slice("10.0.0.2", protocol="UDP")
    await node.proxy.sync()
    assert node.conntrack.table == [udp_flow("10.0.0.2")]
    node.tables.services.put(("default", "web"), None)
    await node.proxy.sync()
    assert node.conntrack.table == []


async def test_flows_are_forgotten_even_when_the_rules_took_two_tries() -> None:
    refusals: list[NftError] = []
    node = Node1(FakeNft(lambda _: refusals.pop() if refusals else None))
    node.put_service(protocol="UDP")
    node.put_slice("10.0.0.1", protocol="UDP")
    node.in_sync()
    await node.proxy.sync()
    node.conntrack.table = [udp_flow("10.0.0.1")]
    node.put_slice("10.0.0.2", protocol="UDP")
    refusals.append(NftError(errno.EBUSY, "busy"))
    with pytest.raises(NftError):
        await node.proxy.sync()
    assert node.conntrack.table, "as long as the old rules are in, the flow would only come back"
    await node.proxy.sync()
    assert node.conntrack.table == []


async def test_health_fails_when_a_change_waits_too_long() -> None:
    stuck = Node1(FakeNft(lambda _: NftError(errno.EBUSY, "busy")))
    stuck.in_sync()
    async with stuck.running():
        await asyncio.sleep(0)
        stuck.put_service()
        assert all(family.healthy for family in stuck.proxy.families().values())
        stuck.clock.time += 61
        assert not any(family.healthy for family in stuck.proxy.families().values())


async def test_metrics_are_kube_proxys(node: Node1) -> None:
    node.put_service()
    node.in_sync()
    await node.proxy.sync()
    node.put_slice("10.0.0.1", changed="1970-01-01T00:16:39Z")
    await node.proxy.sync()
    text = node.registry.render()
    assert 'kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"} 1' in text
    assert 'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv6"} 1000' in text
    assert "kubeproxy_sync_proxy_rules_service_changes_total 1" in text
    assert 'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"} 2' in text


async def test_local_policies_without_a_backend_here_are_counted(node: Node1) -> None:
    node.put_service(internalTrafficPolicy="Local")
    node.put_slice("10.0.0.1")
    node.in_sync()
    await node.proxy.sync()
    name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
    assert f'{name}{{ip_family="IPv4",traffic_policy="internal"}} 1' in node.registry.render()
    node.put_service()
    await node.proxy.sync()
    assert f'{name}{{ip_family="IPv4",traffic_policy="internal"}} 0' in node.registry.render()


async def test_cleanup_leaves_nothing_behind(node: Node1) -> None:
    node.put_service()
    node.put_slice("10.0.0.1")
    node.in_sync()
    await node.proxy.sync()
    node.proxy.remove()
    assert node.nft.listing("ip", TABLE) is None
    assert node.nft.listing("ip6", TABLE) is None


async def test_the_primary_address_is_taken_from_the_node_as_it_becomes_known() -> None:
    node = Node1()
    settings = ProxySettings("node-1", node_port_addresses=("primary",))
    proxy = ServiceProxy(node.tables, settings, ports(node.nft, node.conntrack), node.clock)
    await proxy.sync()
    assert "ip daddr 0.0.0.0 goto node-ports" in (node.nft.listing("ip", TABLE) or "")
    node.in_sync()
    await proxy.sync()
    assert "ip daddr 172.30.0.11 goto node-ports" in (node.nft.listing("ip", TABLE) or "")


def ranges(node: Node1) -> set[str]:
    return {".".join(map(str, key[:4])) for key in node.nft.elements(RANGES)}


async def test_ranges_of_cluster_addresses_come_and_go_as_one_element_each(node: Node1) -> None:
    node.put_service()
    node.put_slice("10.0.0.1")
    node.in_sync("10.96.0.0/12", "fd00:10:96::/112")
    async with node.running():
        await node.until(node.proxy.in_sync.is_set)
        assert ranges(node) == {"10.96.0.0"}
        writes = len(node.nft.writes)
        node.tables.ranges.table.put(("", "more"), ServiceCidr("more", ("10.187.210.0/28",)))
        await node.until(lambda: ranges(node) == {"10.96.0.0", "10.187.210.0"})
        node.tables.ranges.table.put(("", "more"), None)
        await node.until(lambda: ranges(node) == {"10.96.0.0"})
        assert node.nft.writes[writes:] == ["change", "change"], "no rule is written"


async def test_configured_ranges_hold_where_the_server_shows_none(node: Node1) -> None:
    """A cluster before 1.33, or an agent that may not list them."""
    node.put_service()
    async with node.running():
        node.tables.nodes.replace({("", "node-1"): Node("node-1", ("172.30.0.11",))})
        node.tables.services.replace(dict(node.tables.services.items()))
        node.tables.slices.replace({})
        for _ in range(50):
            await asyncio.sleep(0)
        assert node.nft.writes == [], "it is not known yet whether there are any"
        node.tables.ranges.heard(False)
        await node.until(node.proxy.in_sync.is_set)
        assert ranges(node) == {"10.96.0.0"}
