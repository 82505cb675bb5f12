"""Every page with real packets: two nodes' kernels programmed by the proxy itself, connections made and answered.

What was read back from each kernel is simulated as well, and has to say the same as the packets.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.base.clock import SystemClock
from clew.dataplane.nftables.apply import Backend
from clew.dataplane.nftables.listing import read_table
from clew.facts.node import Node
from clew.kernel.conntrack import FakeConntrack
from clew.kernel.nft import KernelNft
from clew.node.proxy import ProxyPorts, ProxyTables, ServiceProxy
from clew.store import Table

from . import plan
from .page import Flow, Section, sections
from .simulated import NodeTable, end, outcomes, seen, settings
from .world import Answer, Prober, World, split

pytestmark = pytest.mark.root
PAGES = sorted(Path(__file__).parent.glob("*.md"))
SECTIONS = [section for path in PAGES for section in sections(path) if section.flows]
TRIES = 60  # connections that reach each of three backends at least once, but for a chance of 1 in 10^10
STEADY = 8  # connections that a sticky client makes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world")).up() as world:
        yield world


def proxy(section: Section, node: str, nft: KernelNft) -> ServiceProxy:
    place = plan.NODES[node]
    zone = section.settings.get("zones", {}).get(node, "")
    tables = ProxyTables(Table("services"), Table("slices"), Table("nodes"))
    tables.services.replace({service.key: service for service in section.services})
    tables.slices.replace({piece.key: piece for piece in section.slices})
    tables.nodes.replace({("", node): Node(node, tuple(place.addresses.values()), zone=zone)})
    return ServiceProxy(tables, settings(section, node), ProxyPorts(nft, FakeConntrack()), SystemClock())


def places_of(end_text: str) -> list[plan.Place]:
    address, _ = split(end_text)
    everywhere = [*plan.PODS.values(), *plan.NODES.values()]
    return [place for place in everywhere if address in place.addresses.values()]


async def start_servers(prober: Prober, flows: list[Flow]) -> None:
    wanted = {
        (place, flow.protocol, 6 if "[" in text else 4, split(text)[1])
        for flow in flows
        for text in flow.ends
        if ":" in text
        for place in places_of(text)
    }
    for place, protocol, family, port in sorted(wanted, key=str):
        await prober.serve(place, protocol, family, port)


async def answers(prober: Prober, flow: Flow) -> list[Answer]:
    """Connections until every expected end was seen, or so many that it should have been."""
    source = plan.place(flow.source)
    got: list[Answer] = []
    tries = 1 if flow.ends[0] in {"REFUSED", "DROPPED", "NOT OURS"} else STEADY if flow.same else TRIES
    for _ in range(tries):
        got.append(await prober.ask(source, flow.protocol, flow.to))
        if not flow.same and {answer.end for answer in got} == set(flow.ends):
            break
    return got


def check(flow: Flow, got: list[Answer]) -> None:
    source = plan.place(flow.source)
    ends = {answer.end for answer in got}
    if flow.ends == ("NOT OURS",):
        assert ends <= {flow.to, "REFUSED", "DROPPED"}, f"{flow}: {ends}"
        return
    if flow.same:
        assert len(ends) == 1, f"{flow}: {ends}"
        assert ends <= set(flow.ends), f"{flow}: {ends}"
    else:
        assert ends == set(flow.ends), f"{flow}: {ends}"
    kept = set(source.addresses.values())
    for answer in got:
        if answer.seen and source.name not in plan.NODES:  # a node's own address is its own either way
            assert (answer.seen in kept) == (flow.seen == "kept"), f"{flow}: {answer}"


@pytest.mark.parametrize("section", SECTIONS, ids=str)
async def test_section(world: World, section: Section) -> None:
    ports = {node: KernelNft(world.path(node)) for node in plan.NODES}
    proxies = {node: proxy(section, node, port) for node, port in ports.items()}
    prober = Prober(world)
    try:
        for each in proxies.values():
            await each.sync()
        await start_servers(prober, section.flows)
        for flow in section.flows:
            check(flow, await answers(prober, flow))

        def read_back(node: str, family: int) -> NodeTable:
            backend = Backend(ports[node], settings(section, node).of(6 if family == 6 else 4))
            table = read_table(ports[node].listing(backend.settings.ip, "clew-proxy") or "")
            return NodeTable(node, table, backend.read_elements())

        for flow in section.flows:
            found = outcomes(flow, read_back)
            assert tuple(sorted({end(flow, each) for each in found})) == flow.ends
            assert {seen(each) for each in found} == {flow.seen}
    finally:
        await prober.close()
        for each in proxies.values():
            each.remove()
        for port in ports.values():
            port.close()
    await asyncio.sleep(0)
