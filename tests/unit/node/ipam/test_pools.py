"""One node's addresses from pools, while users do to pools, blocks and nodes whatever users do."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from clew.base.errors import Problem
from clew.base.metrics import Registry
from clew.compile.ipam import ExhaustedError, UnsuitableError
from clew.facts.attachment import PodRef
from clew.facts.ipamblock import Block, from_api, to_api
from clew.facts.ipamconfiguration import IpamConfiguration
from clew.facts.ippool import IPPool
from clew.facts.ipreservation import Reservation
from clew.facts.node import Node
from clew.node.ipam.book import BlockBook
from clew.node.ipam.claims import BlockClaims
from clew.node.ipam.figures import PoolFigures
from clew.node.ipam.pools import CurrentRules, GoodPools, PoolIpam, PoolTables
from clew.node.ipam.view import BlockView
from clew.node.ipam.wish import Wish
from clew.store.table import Table
from clew.watch.errors import Unreachable

ONE, TWO = Node("one", ("172.30.0.11",), labels=(("zone", "a"),)), Node("two", ("172.30.0.12",))


class Clock:
    """Who sleeps moves it on, and sleeps no longer."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


class Cluster:
    """An API server that answers at once, and whose watches are never behind. It is a ledger itself."""

    def __init__(self) -> None:
        self.tables = PoolTables(
            Table[IPPool]("p"), Table[Block]("b"), Table[Node]("n"), Table[Reservation]("ipreservations"),
            Table[IpamConfiguration]("ipamconfigurations"),
        )  # fmt: skip
        for table in self.tables:
            table.replace({})
        for node in (ONE, TWO):
            self.tables.nodes.put(node.key, node)
        self.away = False
        self._version = 0

    def pool(self, name: str, cidr: str, **more: Any) -> None:
        pool = IPPool(name, cidr, more.pop("block_size", 30), created=name, nat_outgoing=True, **more)
        self.tables.pools.put(pool.key, pool)

    def _answers(self) -> None:
        if self.away:
            raise Unreachable("it", ConnectionRefusedError())

    def _stored(self, block: Block) -> Block:
        self._version += 1
        stored = replace(from_api(to_api(block)), version=str(self._version), uid=block.uid or f"u{self._version}")
        self.tables.blocks.put(stored.key, stored)
        return stored

    async def every(self) -> list[Block]:
        self._answers()
        return [block for _, block in self.tables.blocks.items()]

    async def get(self, name: str) -> Block | None:
        self._answers()
        return self.tables.blocks.get(("", name))

    async def create(self, block: Block) -> Block | None:
        return None if await self.get(block.name) else self._stored(block)

    async def update(self, block: Block) -> Block | None:
        now = await self.get(block.name)
        return self._stored(block) if now is not None and now.version == block.version else None

    async def delete(self, block: Block) -> bool:
        now = await self.get(block.name)
        if now is not None and now.version == block.version:
            self.tables.blocks.put(block.key, None)
        return now is None or now.version == block.version

    async def has_node(self, name: str) -> bool:
        self._answers()
        return self.tables.nodes.get(("", name)) is not None

    async def pods_of(self, _node: str) -> dict[str, tuple[str, ...]]:
        self._answers()
        return {}


class Agent:
    """One node's; `promised` is what its journal says."""

    def __init__(self, cluster: Cluster, node: Node) -> None:
        self.node = node
        self.view = BlockView(cluster.tables.blocks)
        book = BlockBook(cluster, self.view, lambda: [name for _, name in dict(cluster.tables.nodes.items())])
        self.clock = Clock()
        claims = BlockClaims(node.name, book, self.clock, CurrentRules(node.name, cluster.tables))
        good = GoodPools(cluster.tables)
        self.ipam = PoolIpam(
            node.name, cluster.tables, good, claims, Clock()
        )  # each its own: blocks are not dropped here
        self.last = ()
        self.given: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.told: list[Problem] = []
        self.registry = Registry()
        PoolFigures(self.registry, node.name, good, self.view, self)

    def promised(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        return self.given

    async def add(self, name: str, *ips: str, **more: Any) -> list[str]:
        wish = Wish(name, "eth0", "n", "/ns", 1500, PodRef("default", name), ips, linking="routed", **more)
        self.given[f"{name}/eth0"] = f"default/{name}", ()
        try:
            found = await self.ipam.choose(wish, self)
        except BaseException:
            del self.given[f"{name}/eth0"]
            raise
        bare = tuple(each.partition("/")[0] for each in found)
        self.given[f"{name}/eth0"] = f"default/{name}", bare
        return list(bare)

    def remove(self, name: str) -> None:
        del self.given[f"{name}/eth0"]
        self.ipam.freed()

    async def settle(self) -> None:
        """One turn of what runs for ever."""

        async def tell(problem: Problem) -> None:
            self.told.append(problem)

        running = asyncio.ensure_future(self.ipam.run(self, tell))
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    def figures(self) -> dict[str, str]:
        lines = (line for line in self.registry.render().splitlines() if not line.startswith("#"))
        return dict(line.rsplit(" ", 1) for line in lines)

    def routes(self, cluster: Cluster) -> dict[str, tuple[str, ...]]:
        nodes = [node for _, node in cluster.tables.nodes.items()]
        layout = self.ipam.layout(nodes, cluster.tables.nodes.get(self.node.key), [])
        return {node.name: node.pod_cidrs for node in layout.nodes}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def one(cluster: Cluster) -> Agent:
    return Agent(cluster, ONE)


@pytest.fixture
def two(cluster: Cluster) -> Agent:
    return Agent(cluster, TWO)


async def test_a_pool_that_is_disabled_or_deleted_takes_nothing_from_pods_that_run(
    cluster: Cluster, one: Agent, two: Agent
) -> None:
    cluster.pool("a", "10.1.0.0/30")
    (ip,) = await one.add("p0")
    assert (await two.add("q0")) != [ip], "borrowed: there is no second block"
    routes = two.routes(cluster)
    cluster.pool("a", "10.1.0.0/30", disabled=True)
    for asked in ((), (ip,)):
        with pytest.raises(UnsuitableError, match=r"no IPPool|in IPPool a \(10\.1\.0\.0/30\), which is disabled$"):
            await one.add("p1", *asked)
    assert two.routes(cluster) == routes
    layout = one.ipam.layout([ONE, TWO], ONE, [])
    assert (layout.hidden, layout.families) == (("10.1.0.0/30",), {4}), "they hide as before where they leave"
    cluster.tables.pools.put(("", "a"), None)
    await one.settle()
    assert two.routes(cluster) == routes == {"one": ("10.1.0.0/30",), "two": (f"{two.given['q0/eth0'][1][0]}/32",)}
    assert one.told == []
    assert one.figures()['ipam_blocks{ippool="no_ippool",node="one"}'] == "1"
    one.remove("p0")
    two.remove("q0")
    await one.settle()
    await two.settle()
    assert not [held for _, block in cluster.tables.blocks.items() for held in block.held]


async def test_a_second_pool_makes_room_and_one_that_overlaps_does_not(cluster: Cluster, one: Agent) -> None:
    cluster.pool("a", "10.1.0.0/30")
    for number in range(4):
        await one.add(f"p{number}")
    cluster.pool("b", "10.1.0.0/29")
    with pytest.raises(ExhaustedError, match=r"IPPool a \(10\.1\.0\.0/30\)"):
        await one.add("p4")
    layout = one.ipam.layout([ONE, TWO], ONE, [])
    assert [problem.origin for problem in layout.problems] == ["IPPool b"]
    cluster.pool("c", "10.1.0.4/30")
    assert (await one.add("p4"))[0].startswith("10.1.0.")
    assert len(cluster.tables.blocks) == 2


async def test_what_has_not_arrived_is_named() -> None:
    """As where a cluster's definitions are older than its agents."""
    cluster = Cluster()
    cluster.tables = cluster.tables._replace(reservations=Table("ipreservations"))
    agent = Agent(cluster, ONE)
    assert not agent.ipam.in_sync
    assert agent.ipam.lacking == "not arrived from the API server: ipreservations"
    cluster.tables.reservations.replace({})
    assert agent.ipam.in_sync
    assert agent.ipam.lacking == "no IPPool gives it addresses"


async def test_a_pool_of_one_address(cluster: Cluster, one: Agent) -> None:
    cluster.pool("a", "10.1.0.7/32", block_size=32)
    assert await one.add("p0") == ["10.1.0.7"]
    with pytest.raises(ExhaustedError):
        await one.add("p1")
    one.remove("p0")
    assert await one.add("p1") == ["10.1.0.7"], "what somebody just gave up is looked for before all is used up"


async def test_a_node_that_is_deleted_and_comes_back_keeps_what_it_has(
    cluster: Cluster, one: Agent, two: Agent
) -> None:
    cluster.pool("a", "10.1.0.0/29")
    (ip,) = await one.add("p0")
    cluster.tables.nodes.put(ONE.key, None)
    await one.settle()
    assert (await two.add("q0")) != [ip], "nobody takes what there is no need to take"
    cluster.tables.nodes.put(ONE.key, ONE)
    await one.settle()
    assert one.told == []
    assert [each for each in one.routes(cluster)["one"] if "/30" in each]
    fresh = Agent(cluster, ONE)  # another machine of the same name, with an empty disk
    await fresh.settle()
    assert await fresh.add("r0", ip) == [ip]


async def test_a_node_that_was_taken_for_gone_is_told(cluster: Cluster, one: Agent, two: Agent) -> None:
    """Its Node object was deleted while its pods ran, and another node had nothing left."""
    cluster.pool("a", "10.1.0.0/30")
    for number in range(4):
        await one.add(f"p{number}")
    cluster.tables.nodes.put(ONE.key, None)
    with pytest.raises(ExhaustedError, match=r"no free address in IPPool a"):
        await two.add("q0")
    two.clock.seconds += 60
    (ip,) = await two.add("q0")
    cluster.tables.nodes.put(ONE.key, ONE)
    await one.settle()
    (problem,) = one.told
    assert problem.message == f"{ip} is in use by pod default/q0 on node two: delete the pod"
    await one.settle()
    assert len(one.told) == 1, "once"
    figures = one.figures()
    assert figures['clew_ipam_disagreements{kind="unwritten"}'] == "1"
    assert figures['ipam_allocations_in_use{ippool="a",node="one"}'] == "3"
    assert figures['ipam_allocations_borrowed{ippool="a",node="one"}'] == "3"
    assert figures['ipam_ippool_size{ippool="a"}'] == "4"


async def test_what_a_user_can_see_of_leaks(cluster: Cluster, one: Agent) -> None:
    cluster.pool("a", "10.1.0.0/29")
    await one.add("p0")
    await one.add("p1")
    kinds = ("leaked", "unwritten", "unreadable")

    def differ() -> list[str]:
        return [one.figures()[f'clew_ipam_disagreements{{kind="{kind}"}}'] for kind in kinds]

    assert differ() == ["0", "0", "0"]
    one.given.pop("p0/eth0")
    assert differ() == ["1", "0", "0"]
    await one.settle()
    assert differ() == ["0", "0", "0"]
    (block,) = (each for _, each in cluster.tables.blocks.items())
    status = to_api(block)["status"]
    assert status == {"node": "one", "size": 4, "inUse": 1, "lent": 0, "free": 3, "cooling": 0}
    cluster.tables.blocks.put(block.key, replace(block, held=(), free=(), malformed="it", version="99"))
    assert differ() == ["0", "1", "1"]
    await one.settle()
    assert [problem.origin for problem in one.told] == [f"IPAMBlock {block.name}"]


async def test_a_static_address_follows_its_pod_from_node_to_node(cluster: Cluster, one: Agent, two: Agent) -> None:
    """As a StatefulSet's: the new one comes while the old one still ends."""
    cluster.pool("a", "10.1.0.0/28")
    await one.add("web", "10.1.0.9", ips_field="f")
    with pytest.raises(UnsuitableError, match=r"f: 10\.1\.0\.9 is in use by pod default/web on node one"):
        await two.add("web-again", "10.1.0.9", ips_field="f")
    one.remove("web")
    await one.settle()
    assert await two.add("web-again", "10.1.0.9") == ["10.1.0.9"]
    assert await one.add("web-1", "10.1.0.10") == ["10.1.0.10"]
    one.remove("web-1")
    assert await one.add("web-1b", "10.1.0.10") == ["10.1.0.10"], "on one node nobody has to wait for it"


async def test_a_static_address_that_is_not_to_be_had(cluster: Cluster, one: Agent, two: Agent) -> None:
    """What is said is enough to know what to do; and half of a pair is nobody's."""
    cluster.pool("a", "10.1.0.0/28")
    cluster.pool("six", "fd00:1::/120", block_size=126)
    assert await one.add("web", "10.1.0.9", "fd00:1::9") == ["10.1.0.9", "fd00:1::9"]
    chosen, free = await two.add("next", "10.1.0.10")
    assert (chosen, free.startswith("fd00:1::")) == ("10.1.0.10", True), "of two families one is chosen, and borrowed"
    for name, ips, words in (
        ("other", ("10.1.0.9",), "in use by pod default/web on node one$"),
        ("other", ("10.1.0.11", "fd00:1::9"), "fd00:1::9 is in use by pod default/web on node one$"),
        ("other", ("10.2.0.1",), r"10\.2\.0\.1 is in no IPPool that gives this node's pods"),
        ("other", ("fd00:2::1",), "fd00:2::1 is in no IPPool that gives this node's pods"),
        ("other", ("172.30.0.11",), r"172\.30\.0\.11 is in no IPPool"),
    ):
        with pytest.raises(UnsuitableError, match=f"^f: .*{words}"):
            await two.add(name, *ips, ips_field="f")
    await two.settle()
    assert (await one.add("third", "10.1.0.11"))[0] == "10.1.0.11", "what was had of a pair has gone back"
    cluster.pool("nodes", "172.30.0.0/24")
    with pytest.raises(UnsuitableError, match=r"f: 172\.30\.0\.11: 172\.30\.0\.11 is an address of node one"):
        await two.add("other", "172.30.0.11", ips_field="f")
    with pytest.raises(
        UnsuitableError, match=r"172\.30\.0\.9: no block 172\.30\.0\.8/30 is made, for 172\.30\.0\.11 is an address"
    ):
        await two.add("other", "172.30.0.9", ips_field="f")
    cluster.tables.nodes.put(ONE.key, None)
    with pytest.raises(UnsuitableError, match="on node one, which is gone: what it had comes free when no Pod has it"):
        await two.add("other", "10.1.0.9", ips_field="f")


async def test_while_the_server_is_away_nothing_is_promised_and_nothing_lost(cluster: Cluster, one: Agent) -> None:
    cluster.pool("a", "10.1.0.0/29")
    cluster.pool("six", "fd00:1::/126", block_size=126)
    await one.add("p0")
    cluster.away = True
    with pytest.raises(Unreachable):
        await one.add("p1")
    one.remove("p0")
    await one.settle()
    (problem,) = one.told
    assert "cannot write IPAMBlocks" in problem.message
    cluster.away = False
    one.ipam.freed()
    await one.settle()
    assert not [held for _, block in cluster.tables.blocks.items() for held in block.held]


async def test_half_of_what_a_pod_needs_is_given_back(cluster: Cluster, one: Agent) -> None:
    cluster.pool("a", "10.1.0.0/29")
    cluster.pool("six", "fd00:1::1/128", block_size=128)
    assert await one.add("p0") == [one.given["p0/eth0"][1][0], "fd00:1::1"]
    with pytest.raises(ExhaustedError, match="IPPool six"):
        await one.add("p1")
    await one.settle()
    assert one.figures()['clew_ipam_disagreements{kind="leaked"}'] == "0"


async def test_reservations_are_followed_while_it_runs(cluster: Cluster, one: Agent) -> None:
    cluster.pool("a", "10.1.0.0/30")
    (kept,) = await one.add("p0")
    cluster.tables.reservations.put(("", "r"), Reservation("r", ("10.1.0.0/30", "rubbish")))
    with pytest.raises(ExhaustedError):
        await one.add("p1")
    problems = one.ipam.layout([ONE], ONE, []).problems
    assert [(each.origin, each.field) for each in problems] == [("IPReservation r", "spec.reservedCIDRs[1]")]
    await one.settle()
    assert one.given["p0/eth0"][1] == (kept,)
    assert not one.told, "who has one keeps it"
    many = tuple(f"10.1.{n // 250}.{n % 250}" for n in range(1000, 5000))
    cluster.tables.reservations.put(("", "r"), Reservation("r", many))
    cluster.pool("b", "10.1.0.4/30")
    assert await one.add("p1"), "thousands of them do not stop the agent"


async def test_who_may_have_addresses_of_a_pool(cluster: Cluster, one: Agent, two: Agent) -> None:
    cluster.pool("a", "10.1.0.0/29", node_selector="zone == 'a'", namespace_selector="team == 'x'")
    with pytest.raises(UnsuitableError, match=r"no IPPool's selectors fit node one and namespace default: cni\.proj"):
        await one.add("p0")
    assert await one.add("p0", namespace={"team": "x"})
    with pytest.raises(UnsuitableError):
        await two.add("q0", namespace={"team": "x"})
    assert await two.add("q0", pools={4: ("a",)}), "who names a pool is not asked for labels"
    assert await two.add("q1", "10.1.0.6") == ["10.1.0.6"], "nor who names an address"
