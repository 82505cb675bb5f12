"""Blocks claimed by several agents at once: a simulated API server that takes turns by chance and loses answers."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from clew.compile import blocks, ipam_rules
from clew.compile.ipam import ExhaustedError
from clew.compile.ipam_rules import Rules
from clew.compile.stretches import part, stretch
from clew.facts import ipamconfiguration
from clew.facts.ipamblock import Block, from_api, read, to_api
from clew.facts.ippool import IPPool
from clew.node.ipam.book import BlockBook
from clew.node.ipam.claims import WAITS, BlockClaims, TakenAddressError, Waits, Want
from clew.node.ipam.vanished import lookers
from clew.node.ipam.view import BlockView
from clew.store.table import Table
from clew.watch.errors import Unreachable

T = TypeVar("T")

POOL = IPPool("small", "10.9.0.0/28", 30)  # four blocks of four


class Time:
    """It passes only when a test says so."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    async def sleep(self, _seconds: float) -> None:
        await asyncio.Event().wait()


class Server:
    """Objects by name with one counter of versions, as an API server has them. Each call waits for its turn twice.

    Once before it is carried out and once before its answer arrives, so that others' calls come in between; `loses`
    of a hundred answers never arrive, carried out or not.
    """

    def __init__(self, random: Random, loses: int = 0) -> None:
        self._random, self._loses = random, loses
        self.objects: dict[str, Block] = {}
        self.nodes = {"a", "b", "c"}
        self.asked: dict[str, int] = {}  # how often for the Pods of a node
        self.pods: dict[str, dict[str, tuple[str, ...]]] = {}  # by node: names, and addresses as they say
        self.rubbish: set[str] = set()  # names of objects that nobody can read
        self.rules = Rules()  # as every agent has heard of them
        self._version = 0
        self._waiting: list[asyncio.Future[None]] = []
        self.watches: list[tuple[Table[Block], BlockView]] = []

    def watch(self) -> BlockView:
        """A view that lags: it is brought up to date only when `tell` is called."""
        table: Table[Block] = Table("blocks")
        table.replace({})
        view = BlockView(table)
        self.watches.append((table, view))
        return view

    def tell(self, view: BlockView) -> None:
        table = next(table for table, other in self.watches if other is view)
        table.replace({block.key: block for block in self.objects.values()})
        view.progress(str(self._version))

    def break_block(self, name: str) -> None:
        """Somebody edits it so that it contradicts itself."""
        self._version += 1
        written = to_api(self.objects[name])
        broken = read(written | {"spec": written["spec"] | {"unallocated": []}})
        assert broken is not None
        self.objects[name] = replace(broken, version=str(self._version))

    def wipe(self) -> None:
        """Somebody removes everything."""
        self._version += 1
        self.objects.clear()

    async def _turn(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    async def _call(self, work: Any) -> Any:
        await self._turn()
        lost = self._random.randrange(100) < self._loses
        if lost and self._random.random() < 0.5:
            raise Unreachable("it", TimeoutError())
        found = work()
        await self._turn()
        if lost:
            raise Unreachable("it", TimeoutError())
        return found

    async def run(self, *work: Coroutine[Any, Any, T]) -> "list[T | BaseException]":
        """Until all is done, one call at a time, whose turn it is by chance."""
        tasks = [asyncio.ensure_future(each) for each in work]
        while not all(task.done() for task in tasks):
            for _ in range(3):  # what was set going comes to its next call
                await asyncio.sleep(0)
            if self._waiting:
                self._waiting.pop(self._random.randrange(len(self._waiting))).set_result(None)
            if self._random.random() < 0.3:
                self.tell(self._random.choice(self.watches)[1])
        return [task.exception() or task.result() for task in tasks]

    def _stored(self, block: Block) -> Block:
        self._version += 1
        stored = replace(from_api(to_api(block)), version=str(self._version), uid=block.uid or f"u{self._version}")
        self.objects[block.name] = stored
        return stored

    async def every(self) -> list[Block]:
        return list(await self._call(lambda: list(self.objects.values())))

    async def get(self, name: str) -> Block | None:
        found: Block | None = await self._call(lambda: self.objects.get(name))
        return found

    async def create(self, block: Block) -> Block | None:
        def work() -> Block | None:
            return None if block.name in {*self.objects, *self.rubbish} else self._stored(replace(block, uid=""))

        found: Block | None = await self._call(work)
        return found

    async def update(self, block: Block) -> Block | None:
        def work() -> Block | None:
            now = self.objects.get(block.name)
            return self._stored(block) if now is not None and now.version == block.version else None

        found: Block | None = await self._call(work)
        return found

    async def delete(self, block: Block) -> bool:
        def work() -> bool:
            now = self.objects.get(block.name)
            if now is not None and now.version != block.version:
                return False
            self._version += 1
            self.objects.pop(block.name, None)
            return True

        return bool(await self._call(work))

    async def has_node(self, name: str) -> bool:
        return bool(await self._call(lambda: name in self.nodes))

    async def pods_of(self, node: str) -> dict[str, tuple[str, ...]]:
        self.asked[node] = self.asked.get(node, 0) + 1
        found: dict[str, tuple[str, ...]] = await self._call(lambda: dict(self.pods.get(node, {})))
        return found


class Node:
    """An agent's claims, and what it promised, as its journal has it."""

    def __init__(self, name: str, server: Server, time: Time, waits: Waits = WAITS) -> None:
        self.name = name
        self.view = server.watch()
        self.claims = BlockClaims(
            name, BlockBook(server, self.view, lambda: server.nodes), time, lambda: server.rules, waits
        )
        self.promised: dict[str, tuple[str, tuple[str, ...]]] = {}

    async def add(self, handle: str, pool: IPPool = POOL, exact: str = "") -> str:
        """As the agent does: the handle is known while it is being dealt with, and forgotten where that fails."""
        self.promised[handle] = "", ()
        try:
            found = await self.claims.claim(Want(handle, f"default/{handle}", (pool,), exact))
        except BaseException:
            del self.promised[handle]
            raise
        self.promised[handle] = f"default/{handle}", (found,)
        return found

    async def settle(self, pool: IPPool = POOL) -> Any:
        return await self.claims.settle(lambda: self.promised, [pool])


@pytest.fixture
def time() -> Time:
    return Time()


def once(server: Server, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    async def run() -> T:
        found = (await server.run(work))[0]
        if isinstance(found, BaseException):
            raise found
        return found

    return run()


async def test_blocks_are_carved_on_demand_and_borrowed_from_when_there_are_no_more(time: Time) -> None:
    server = Server(Random(1))
    a, b = Node("a", server, time), Node("b", server, time)
    assert not server.objects, "nothing is reserved before somebody needs it"
    first = await once(server, a.add("p0"))
    for number in range(1, 4):
        await once(server, a.add(f"p{number}"))
    assert [block.node for block in server.objects.values()] == ["a"]
    assert not next(iter(server.objects.values())).free
    await once(server, b.add("q0"))
    got = [await once(server, a.add(f"p{number}")) for number in range(4, 12)]
    assert sorted(block.node for block in server.objects.values()) == ["a", "a", "a", "b"]
    borrowed = [await once(server, a.add(f"p{number}")) for number in range(12, 15)]
    lender = next(block for block in server.objects.values() if block.node == "b")
    assert {holder.node for _, holder in lender.held} == {"a", "b"}
    with pytest.raises(ExhaustedError, match=r"IPPool small \(10\.9\.0\.0/28\)"):
        await once(server, b.add("q1"))
    assert len({first, *got, *borrowed}) == 12


async def test_an_empty_block_goes_after_a_while_and_not_while_an_address_of_it_is_lent(time: Time) -> None:
    server = Server(Random(2))
    a, b = Node("a", server, time), Node("b", server, time)
    for number in range(12):
        await once(server, a.add(f"p{number}"))
    await once(server, b.add("q0"))
    lent = await once(server, a.add("p12"))
    del b.promised["q0"]
    server.tell(b.view)
    await once(server, b.settle())
    time.seconds += 100
    await once(server, b.settle())
    assert any(block.node == "b" for block in server.objects.values()), f"{lent} is a pod's of node a"
    a.promised.clear()
    server.tell(a.view)
    await once(server, a.settle())
    time.seconds += 59
    server.tell(a.view)
    server.tell(b.view)
    await once(server, a.settle())
    assert len(server.objects) == 4, "addresses that were in use a moment ago are not another node's at once"
    time.seconds += 61
    await once(server, a.settle())
    await once(server, b.settle())
    time.seconds += 61
    await once(server, b.settle())
    assert not server.objects


async def test_an_address_that_came_free_waits_longest(time: Time) -> None:
    server = Server(Random(3))
    a = Node("a", server, time)
    first = await once(server, a.add("p0"))
    del a.promised["p0"]
    await once(server, a.settle())
    seen = [await once(server, a.add(f"q{number}")) for number in range(4)]
    assert seen[3] == first
    assert len(set(seen)) == 4


async def test_what_a_node_that_is_gone_had_is_taken_over_before_anybody_borrows(time: Time) -> None:
    server = Server(Random(4))
    a, b = Node("a", server, time), Node("b", server, time)
    for number in range(16):
        await once(server, a.add(f"p{number}"))
    with pytest.raises(ExhaustedError):
        await once(server, b.add("q0"))
    server.nodes.discard("a")
    with pytest.raises(ExhaustedError) as refused:
        await once(server, b.add("q0"))
    assert refused.value.details.endswith("; nodes that are gone keep addresses for their pods: a")
    time.seconds += 60
    await once(server, b.add("q0"))
    assert {block.node for block in server.objects.values()} == {"b"}
    assert sum(len(block.held) for block in server.objects.values()) == 1


def holders(server: Server) -> dict[str, str]:
    return {block.address(place): one.handle for block in server.objects.values() for place, one in block.held}


async def test_a_node_that_is_gone_keeps_what_its_pods_have(time: Time) -> None:
    """Its Node was deleted while its kubelet ran on: others' pods got addresses that were still in use."""
    server = Server(Random(16))
    a, b = Node("a", server, time), Node("b", server, time)
    for number in range(16):
        await once(server, a.add(f"p{number}"))
    had = {handle: address for handle, (_, (address,)) in a.promised.items()}
    server.nodes.discard("a")
    server.pods["a"] = {
        "default/p0": (had["p0"],), "default/p1": (), "default/p2": ("fd00::7", had["p2"]),
        "default/p3": ("10.9.0.200",),  # made anew, and has another
    }  # fmt: skip
    server.tell(b.view)
    with pytest.raises(ExhaustedError):
        await once(server, b.add("q0"))
    time.seconds += 60
    got = [await once(server, b.add(f"q{number}")) for number in range(13)]
    assert set(got) == {address for handle, address in had.items() if handle not in {"p0", "p1", "p2"}}
    with pytest.raises(ExhaustedError):
        await once(server, b.add("q13"))
    owners = {block.node for block in server.objects.values() if any(one.node == "a" for _, one in block.held)}
    assert owners == {"a"}, "a block in which pods of it are stays its own"
    del server.pods["a"]["default/p2"]
    time.seconds += 59
    for _ in range(2):  # the first look sees that it is gone
        with pytest.raises(ExhaustedError):
            await once(server, b.add("q13"))
        time.seconds += 59
    time.seconds += 1
    assert await once(server, b.add("q13")) == had["p2"]
    server.nodes.add("a")
    server.pods.clear()
    time.seconds += 1000
    with pytest.raises(ExhaustedError):
        await once(server, b.add("q14"))
    server.tell(a.view)
    problems = await once(server, a.settle())
    assert len(problems) == 14, "the others are told that they have to go"
    assert {each: holders(server)[had[each]] for each in ("p0", "p1")} == {"p0": "p0", "p1": "p1"}, "adopted"


async def test_what_a_node_had_that_is_gone_goes_though_nobody_needs_it(time: Time) -> None:
    """And each that is gone is looked after by a few of those that are there, whichever of them live."""
    server = Server(Random(17))
    names = [f"n{number}" for number in range(9)]
    server.nodes = set(names)
    a, *others = (Node(name, server, time) for name in names)
    for number in range(5):
        await once(server, a.add(f"p{number}"))
    block = next(each for each in server.objects.values() if each.free)
    lent = await once(server, others[0].add("q0", exact=block.address(block.free[0])))
    server.nodes.discard("n0")
    server.asked.clear()
    alive = [node for node in others if node.name != lookers("n0", server.nodes)[0]]  # the first one's agent is dead

    async def all_settle() -> None:
        for node in alive:
            server.tell(node.view)
            await once(server, node.settle())

    await all_settle()
    assert server.asked == {"n0": 2}, "not by all of them"
    time.seconds += 59
    await all_settle()
    assert len(holders(server)) == 6
    for _ in range(2):
        time.seconds += 15
        await all_settle()
    assert holders(server) == {lent: "q0"}
    assert [block.node for block in server.objects.values()] == [""], "nobody's, as long as another has of it"
    others[0].promised.clear()
    for _ in range(2):
        time.seconds += 15
        await all_settle()
    assert not server.objects


async def test_a_chosen_address(time: Time) -> None:
    server = Server(Random(5))
    a, b = Node("a", server, time), Node("b", server, time)
    assert await once(server, a.add("p0", exact="10.9.0.6")) == "10.9.0.6"
    assert server.objects["10-9-0-4-30"].node == "a"
    with pytest.raises(TakenAddressError, match=r"10\.9\.0\.6 is in use by pod default/p0 on node a"):
        await once(server, b.add("q0", exact="10.9.0.6"))
    assert await once(server, b.add("q1", exact="10.9.0.5")) == "10.9.0.5", "of another node's block: borrowed"


async def test_what_the_ledger_lost_is_entered_again_and_a_clash_is_said(time: Time) -> None:
    server = Server(Random(6))
    a, b = Node("a", server, time), Node("b", server, time)
    mine = await once(server, a.add("p0"))
    server.wipe()
    server.tell(a.view)
    assert await once(server, a.settle()) == []
    assert [holder.handle for block in server.objects.values() for _, holder in block.held] == ["p0"]
    server.wipe()
    server.tell(a.view)
    await once(server, b.add("thief", exact=mine))
    server.tell(a.view)
    (problem,) = await once(server, a.settle())
    assert mine in problem.message
    assert "thief" in problem.message
    a.promised = {"old": ("default/old", ("192.0.2.7",))}
    (problem,) = await once(server, a.settle())
    assert "192.0.2.7 is in no IPPool" in problem.message


async def test_blocks_of_two_sizes_never_overlap(time: Time) -> None:
    """A pool's block size was changed, and one agent has not heard of it yet."""
    for seed in range(40):
        server = Server(Random(seed))
        a, b = Node("a", server, time), Node("b", server, time)
        wide = replace(POOL, block_size=29)
        await server.run(a.add("p0"), b.add("q0", wide), a.add("p1"), b.add("q1", wide))
        networks = [block.network for block in server.objects.values()]
        clash = [(x, y) for x in networks for y in networks if x != y and x.overlaps(y)]
        held = [block.address(place) for block in server.objects.values() for place, _ in block.held]
        assert len(held) == len(set(held)), clash


async def test_reserved_addresses_are_for_those_who_choose_them(time: Time) -> None:
    server = Server(Random(7))
    a = Node("a", server, time)
    server.rules = Rules(reserved={4: (stretch("10.9.0.0/29"), stretch("10.9.0.9"), stretch("10.9.0.15"))})
    got = [await once(server, a.add(f"p{number}")) for number in range(6)]
    assert sorted(got) == ["10.9.0.10", "10.9.0.11", "10.9.0.12", "10.9.0.13", "10.9.0.14", "10.9.0.8"]
    with pytest.raises(ExhaustedError):
        await once(server, a.add("p7"))
    assert sorted(server.objects) == ["10-9-0-12-30", "10-9-0-8-30"], "no block that is reserved to its last address"
    assert await once(server, a.add("p8", exact="10.9.0.9")) == "10.9.0.9"


async def test_ranges_that_somebody_names(time: Time) -> None:
    server = Server(Random(14))
    a, b = Node("a", server, time), Node("b", server, time)
    few = part("ipRanges", [("10.9.0.3", "10.9.0.4"), ("10.9.0.13", "10.9.0.13"), ("10.9.1.0", "10.9.1.255")])

    async def add(node: Node, handle: str) -> str:
        node.promised[handle] = handle, ()
        found = await once(server, node.claims.claim(Want(handle, "", (POOL,), part=few)))
        node.promised[handle] = handle, (found,)
        return found

    await once(server, b.add("q0", exact="10.9.0.12"))
    assert {await add(a, "p0"), await add(a, "p1")} == {"10.9.0.3", "10.9.0.4"}
    assert await add(a, "p2") == "10.9.0.13"
    assert server.objects["10-9-0-12-30"].node == "b", "the last one is borrowed"
    with pytest.raises(ExhaustedError, match=r"within ipRanges 10\.9\.0\.3-10\.9\.0\.4, 10\.9\.0\.13-"):
        await add(a, "p3")


async def test_strict_affinity_keeps_each_node_to_its_own_blocks(time: Time) -> None:
    server = Server(Random(8))
    a, b = Node("a", server, time), Node("b", server, time)
    server.rules = Rules(strict=True)
    for number in range(16):
        await once(server, a.add(f"p{number}"))
    for number in (15, 14, 13):
        del a.promised[f"p{number}"]
    await once(server, a.settle())
    with pytest.raises(ExhaustedError) as refused:
        await once(server, b.add("q0"))
    assert refused.value.details.endswith("; IPAMConfiguration default has strictAffinity")
    free = next(block.address(block.free[0]) for block in server.objects.values() if block.free)
    with pytest.raises(TakenAddressError, match=f"{free} is in a block of node a; .* has strictAffinity"):
        await once(server, b.add("q0", exact=free))
    b.promised = {"old": ("default/old", (free,))}
    assert await once(server, b.settle()) == [], "a pod that was there before keeps its address"


async def test_a_node_has_no_more_blocks_than_it_may(time: Time) -> None:
    server = Server(Random(9))
    a, b = Node("a", server, time), Node("b", server, time)
    server.rules = Rules(most_blocks=1)
    for number in range(4):
        await once(server, a.add(f"p{number}"))
    await once(server, b.add("q0"))
    await once(server, a.add("p4"))
    assert [block.node for block in server.objects.values()] == ["a", "b"], "it borrows before it takes a second one"
    for number in (5, 6):
        await once(server, a.add(f"p{number}"))
    with pytest.raises(ExhaustedError) as refused:
        await once(server, b.add("q1"))
    assert "maxBlocksPerHost 1" in refused.value.details
    server.nodes.discard("b")
    with pytest.raises(ExhaustedError):
        await once(server, a.add("p7"))
    time.seconds += 60
    await once(server, a.add("p7"))
    assert [block.node for block in server.objects.values()] == ["a", ""], "what b's pod had, and not the block"
    free = next(each for each in ("10.9.0.0", "10.9.0.4", "10.9.0.8") if a.view.holding(each) is None)
    with pytest.raises(TakenAddressError, match=f"{free} is in no block yet, .* has maxBlocksPerHost 1$"):
        await once(server, a.add("p8", exact=free))
    server.rules = Rules(carves=False)
    with pytest.raises(ExhaustedError) as refused:
        await once(server, a.add("p8"))
    assert "autoAllocateBlocks false" in refused.value.details
    assert len(server.objects) == 2


async def test_a_node_has_twenty_blocks_where_nobody_says_another_number(time: Time) -> None:
    """Calico's default, for a field that is absent or 0: something that runs wild does not use up a pool."""
    wide = IPPool("wide", "10.9.0.0/24", 32)
    for said in (None, {}, {"maxBlocksPerHost": 0}):
        server = Server(Random(15))
        a, b = Node("a", server, time), Node("b", server, time)
        known = [] if said is None else [ipamconfiguration.from_api({"metadata": {"name": "default"}, "spec": said})]
        server.rules = ipam_rules.rules(known, [])[0]
        for number in range(20):
            await once(server, a.add(f"p{number}", wide))
        with pytest.raises(ExhaustedError) as refused:
            await once(server, a.add("p20", wide))
        assert refused.value.details.endswith("default has maxBlocksPerHost 20 (as long as it names no other number)")
        assert await once(server, b.add("q0", wide)), "another node is free to"
    server.rules = ipam_rules.rules([replace(known[0], max_blocks_per_host=1000)], [])[0]
    assert await once(server, a.add("p20", wide))


async def test_an_address_cools_down_before_somebody_else_has_it(time: Time) -> None:
    server = Server(Random(10))
    a = Node("a", server, time)
    server.rules = Rules(cooldown=30, most_blocks=1)
    first = await once(server, a.add("p0"))
    del a.promised["p0"]
    await once(server, a.settle())
    assert len({await once(server, a.add(f"q{number}")) for number in range(3)} | {first}) == 4
    with pytest.raises(ExhaustedError) as refused:
        await once(server, a.add("q3"))
    assert "ipCooldownSeconds 30" in refused.value.details
    assert await once(server, a.add("chosen", exact=first)) == first, "who chooses it knows why"
    del a.promised["chosen"]
    await once(server, a.settle())
    time.seconds += 29
    with pytest.raises(ExhaustedError):
        await once(server, a.add("q3"))
    time.seconds += 1
    assert await once(server, a.add("q3")) == first
    del a.promised["q3"], a.promised["q2"]
    time.seconds += 500  # by a clock that is ahead
    await once(server, a.settle())
    time.seconds -= 500
    with pytest.raises(ExhaustedError):
        await once(server, a.add("q4"))
    server.rules = Rules(most_blocks=1)
    assert await once(server, a.add("q4")), "nothing cools any more"
    server.rules = Rules(cooldown=30, most_blocks=1)
    a.promised.clear()
    await once(server, a.settle())
    time.seconds += 29
    await once(server, a.settle())
    assert server.objects, "a block goes when nothing of it cools any more"
    for _ in range(2):
        time.seconds += 61
        await once(server, a.settle())
    assert not server.objects


async def test_a_block_that_somebody_broke_is_left_alone_and_said(time: Time) -> None:
    server = Server(Random(11))
    a, b = Node("a", server, time), Node("b", server, time)
    mine = await once(server, a.add("p0"))
    (name,) = server.objects
    server.break_block(name)
    server.tell(a.view)
    server.tell(b.view)
    (problem,) = await once(server, a.settle())
    assert problem.origin == f"IPAMBlock {name}"
    assert "no address of it is given out: delete it" in problem.message
    with pytest.raises(TakenAddressError, match="an IPAMBlock that nobody can read"):
        await once(server, b.add("thief", exact=mine))
    got = [await once(server, b.add(f"q{number}")) for number in range(12)]
    assert mine not in got
    with pytest.raises(ExhaustedError):
        await once(server, b.add("q12"))
    time.seconds += 100
    await once(server, a.settle())
    assert name in server.objects, "nobody takes it for an empty one"
    server.nodes.discard("a")
    with pytest.raises(ExhaustedError):
        await once(server, b.add("q12"))
    server.objects.pop(name)
    server.tell(a.view)
    assert await once(server, a.settle()) == []
    assert [holder.handle for _, holder in server.objects[name].held] == ["p0"], "and entered again"


async def test_an_object_that_is_no_block_stands_in_nobodys_way(time: Time) -> None:
    server = Server(Random(12))
    a = Node("a", server, time)
    first = await once(server, a.add("p0"))
    (name,) = server.objects
    server.wipe()
    server.rubbish = {name}
    other = await once(server, a.add("p1"))
    assert other.rpartition(".")[0] == first.rpartition(".")[0]
    assert name not in server.objects
    with pytest.raises(TakenAddressError, match=f"no IPAMBlock {name} can be made"):
        await once(server, a.add("p2", exact=first))


async def test_a_holder_that_somebody_edited_is_set_right(time: Time) -> None:
    """Another node's name beside our handle: packets would go there."""
    server = Server(Random(13))
    a = Node("a", server, time)
    await once(server, a.add("p0"))
    ((name, block),) = server.objects.items()
    await once(server, server.update(blocks.moved(block, "p0", "nowhere")))
    server.tell(a.view)
    assert await once(server, a.settle()) == []
    assert [holder.node for _, holder in server.objects[name].held] == ["a"]


class Fate:
    """What becomes of machines and their Node objects, as the API server and the pods on them have it.

    A machine is off, or cut off with its pods running; its Node is deleted, and some time later its Pods, of which a
    kubelet that lives hears; later it is back.
    """

    def __init__(self, server: Server, nodes: list[Node], random: Random) -> None:
        self._server, self._nodes, self._random = server, nodes, random

    @property
    def there(self) -> list[Node]:
        return [node for node in self._nodes if node.name in self._server.nodes]

    def turn(self) -> None:
        server, random = self._server, self._random
        if random.random() < 0.2 and len(self.there) > 1:
            node = random.choice(self.there)
            server.nodes.discard(node.name)
            server.pods[node.name] = {f"default/{handle}": found for handle, (_, found) in node.promised.items()}
            if random.random() < 0.5:
                node.promised.clear()  # it is off
        for node in self._nodes:
            if node.name in server.nodes:
                continue
            pods = server.pods[node.name]
            if pods and random.random() < 0.15:
                gone = random.choice(list(pods))
                del pods[gone]
                node.promised.pop(gone.removeprefix("default/"), None)
            if random.random() < 0.05:
                self.back(node)

    def back(self, node: Node) -> None:
        self._server.nodes.add(node.name)
        self._server.pods.pop(node.name, None)
        self._server.tell(node.view)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32), st.sampled_from([0, 5, 20]),
    st.sampled_from([Rules(), Rules(cooldown=4), Rules(True, 2), Rules(reserved={4: (stretch("10.9.0.5"),)})]),
    st.booleans(),
)  # fmt: skip
async def test_no_address_twice_and_none_leaked(seed: int, loses: int, rules: Rules, nodes_go: bool) -> None:
    """Three agents add and remove at once, over a server that takes turns by chance and loses answers.

    Nodes are deleted while their pods run on, and come back; nobody has what they still have.
    """
    random, time = Random(seed), Time()
    server = Server(random, loses)
    server.rules = rules
    nodes = [Node(name, server, time, Waits(5, 4)) for name in "abc"]
    fate = Fate(server, nodes, random)
    for step in range(30):
        if nodes_go:
            fate.turn()
        work: list[Coroutine[Any, Any, Any]] = []
        for node in fate.there:
            held = [handle for handle, (_, addresses) in node.promised.items() if addresses]
            if held and random.random() < 0.5:
                del node.promised[random.choice(held)]
            work += [node.add(f"{node.name}{step}"), node.settle()]
        time.seconds += random.choice([0, 3])
        found = await server.run(*work)
        assert not [each for each in found if isinstance(each, list) and each], "nobody is told of another's address"
        mine = [address for node in nodes for _, addresses in node.promised.values() for address in addresses]
        assert len(mine) == len(set(mine)), "an address has two owners"
        assert "10.9.0.5" not in mine or not rules.reserved
    server._loses = 0
    for node in nodes:
        fate.back(node)
    for _ in range(3):
        for node in nodes:
            server.tell(node.view)
            await server.run(node.settle())
    written = {block.address(place): holder.handle for block in server.objects.values() for place, holder in block.held}
    wanted = {address: handle for node in nodes for handle, (_, found) in node.promised.items() for address in found}
    assert written == wanted, "what the ledger says is what the nodes promised, no more and no less"
