"""What `kubectl get ippools` shows of what is used: counted as blocks change, and written by one node now and then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from clew.api.kinds import Kind
from clew.compile import blocks
from clew.facts import ippool
from clew.facts.ipamblock import Holder
from clew.facts.ippool import Figures, IPPool
from clew.facts.node import Node
from clew.node.ipam.pool_counts import EVERY, PoolCounts, Sums
from clew.node.ipam.pools import GoodPools, PoolTables
from clew.store.table import Table

from .hand_clock import HandClock


class Server:
    """The status of each pool, which all agents' watches show at once."""

    def __init__(self, tables: PoolTables) -> None:
        self._tables = tables
        self.said: list[tuple[str, Any]] = []
        self.old = False  # whether its definition has no such fields

    async def patch(self, _kind: Kind, name: str, body: Any, *_: Any, **__: Any) -> Any:
        now = self._tables.pools.get(("", name))
        assert now is not None
        self.said.append((name, body["status"]))
        if self.old:
            return {}
        seen = ippool.from_api({"metadata": {"name": name}, "spec": {"cidr": now.cidr}, **body})
        self._tables.pools.put(now.key, replace(now, figures=seen.figures))
        return body

    async def create(self, *_: Any, **__: Any) -> Any:
        raise AssertionError

    get = create


def cluster(*names: str) -> PoolTables:
    tables = PoolTables(Table(), Table(), Table(), Table(), Table())
    for table in tables:
        table.replace({})
    for name in names:
        tables.nodes.put(("", name), Node(name))
    return tables


def pool(tables: PoolTables, name: str, cidr: str, size: int = 30, at: str = "1") -> None:
    tables.pools.put(("", name), IPPool(name, cidr, size, created=at, uid=name))


def block(tables: PoolTables, cidr: str, node: str, *holders: str) -> None:
    found = blocks.empty(cidr, node)
    for place, holder in enumerate(holders):
        given = blocks.give(found, Holder(f"c{place}", holder), place)
        assert given
        found = given[0]
    tables.blocks.put(found.key, found)


def test_blocks_are_counted_as_they_change() -> None:
    tables = cluster("one")
    sums = Sums(tables, GoodPools(tables))
    pool(tables, "a", "10.1.0.0/28")
    pool(tables, "six", "fd00::/48", 122)
    assert sums() == {"a": Figures(30, "16", 0, 0, 0), "six": Figures(122, "2^80", 0, 0, 0)}
    block(tables, "10.1.0.0/30", "one", "one", "two")
    block(tables, "10.1.0.4/30", "one", "one")
    block(tables, "10.9.0.0/30", "one", "one")  # of a pool that is no more
    assert sums()["a"] == Figures(30, "16", 2, 3, 1)
    block(tables, "10.1.0.0/30", "one")
    tables.blocks.put(("", "10-1-0-4-30"), None)
    assert sums()["a"] == Figures(30, "16", 1, 0, 0)
    pool(tables, "late", "10.9.0.0/24", at="2")
    pool(tables, "wrong", "10.9.0.0/31", at="3")
    pool(tables, "over", "10.9.0.0/16", at="4")
    found = sums()
    assert found["late"] == Figures(30, "256", 1, 1, 0)
    assert found["over"] == Figures(30, "65536", 0, 0, 0), "it overlaps: each block is counted once"
    assert "wrong" not in found
    tables.pools.put(("", "late"), None)
    assert sums()["over"] == Figures(30, "65536", 1, 1, 0)


@asynccontextmanager
async def agents(tables: PoolTables, server: Server, clock: HandClock, *names: str) -> AsyncIterator[list[Any]]:
    found = [asyncio.ensure_future(PoolCounts(name, tables, GoodPools(tables), clock).run(server)) for name in names]
    try:
        yield found
    finally:
        for each in found:
            each.cancel()
        await asyncio.gather(*found, return_exceptions=True)


async def test_a_status_is_written_now_and_then_however_many_nodes_there_are() -> None:
    names = [f"n{number}" for number in range(8)]
    tables, clock = cluster(*names), HandClock()
    server = Server(tables)
    pool(tables, "a", "10.1.0.0/16", 26)
    async with agents(tables, server, clock, *names) as running:
        await clock.forward(0.05)
        assert server.said == [
            ("a", {"blockSize": 26, "capacity": "65536", "blocks": 0, "allocated": 0, "borrowed": 0})
        ], "a new pool's at once"
        for number in range(200):  # a pod every tenth of a second
            block(tables, f"10.1.{number}.0/26", "n1", "n1")
            await clock.forward(0.1)
        assert 20 / EVERY - 1 <= len(server.said) - 1 <= 20 / EVERY
        await clock.forward(EVERY + 1)
        assert server.said[-1][1]["blocks"] == 200
        written = len(server.said)
        await clock.forward(100)
        assert len(server.said) == written, "nothing new, nothing said"
        running[0].cancel()
        block(tables, "10.1.0.0/26", "n1")
        await clock.forward(EVERY + 1)
        assert (len(server.said), server.said[-1][1]["allocated"]) == (written + 1, 199), "another node speaks for it"


async def test_a_server_whose_definition_is_older_is_asked_once() -> None:
    tables, clock = cluster("n0"), HandClock()
    server = Server(tables)
    server.old = True
    pool(tables, "a", "10.1.0.0/16", 26)
    async with agents(tables, server, clock, "n0"):
        for number in range(10):
            block(tables, f"10.1.{number}.0/26", "n0", "n0")
            await clock.forward(2 * EVERY)
    assert len(server.said) == 1
