"""Every page with real packets, in every mode: two nodes' kernels programmed by the proxy itself, connections made.

What was read back from each kernel is simulated as well, and has to say the same as the packets. Which modes: those
that the machine's kernel has; `--modes vm` takes those that only a guest's has.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from clew.base.clock import SystemClock
from clew.facts.node import Node
from clew.kernel.conntrack import KernelConntrack
from clew.node import proxy_modes
from clew.node.proxy import ProxyPorts, ProxyTables, ServiceProxy
from clew.store import Table

from . import plan
from .modes import MODES, Simulated
from .page import Flow, Section, flows_in, sections
from .simulated import end, family_settings, outcomes, seen, settings
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


def proxy(mode: str, section: Section, node: str, where: Path) -> ServiceProxy:
    place = plan.NODES[node]
    zone = section.settings.get("zones", {}).get(node, "")
    tables = ProxyTables(Table("services"), Table("slices"), Table("nodes"))
    tables.services.replace({service.key: service for service in section.services})
    tables.slices.replace({piece.key: piece for piece in section.slices})
    tables.nodes.replace({("", node): Node(node, tuple(place.addresses.values()), zone=zone)})
    ports = ProxyPorts(partial(proxy_modes.mode(mode, where).open, where), KernelConntrack(where))
    return ServiceProxy(tables, settings(section, node), ports, SystemClock())


@contextlib.asynccontextmanager
async def serving(mode: str, section: Section, world: World) -> AsyncIterator[None]:
    """Both nodes' proxies in sync with the section, and nothing of them left behind."""
    proxies = {node: proxy(mode, section, node, world.path(node)) for node in plan.NODES}
    companions = []
    try:
        for each in proxies.values():
            each.prepare()
            companions.append(asyncio.ensure_future(each.serve()))
            await each.sync()
        yield
    finally:
        for companion in companions:
            companion.cancel()
        await asyncio.gather(*companions, return_exceptions=True)
        for each in proxies.values():
            each.remove()
            each.close()


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


PLAYED = [
    pytest.param(mode, section, id=f"{mode}:{section}", marks=pytest.mark.lane(MODES[mode].lane))
    for mode in MODES
    for section in SECTIONS
]


@pytest.mark.parametrize(("mode", "section"), PLAYED)
async def test_section(world: World, mode: str, section: Section) -> None:
    async with serving(mode, section, world):
        await play(world, mode, section)
    await asyncio.sleep(0)


async def play(world: World, mode: str, section: Section) -> None:
    """Every flow of a section by real packets, while the kernels are as it says; and what they hold, simulated."""
    flows = flows_in(section, mode)
    prober = Prober(world)
    try:
        await start_servers(prober, flows)
        for flow in flows:
            check(flow, await answers(prober, flow))

        def read_back(node: str, family: int) -> Simulated:
            return MODES[mode].read_back(world.path(node), family_settings(section, node, family))

        for flow in flows:
            found = outcomes(flow, read_back)
            assert tuple(sorted({end(flow, each) for each in found})) == flow.ends
            assert {seen(each) for each in found} == {flow.seen}
    finally:
        await prober.close()
