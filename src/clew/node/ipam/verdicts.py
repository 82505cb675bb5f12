"""What is wrong with an IPPool, written where its owner looks: the condition Valid, and an Event; and the first pools.

Every agent comes to the same verdict. They speak in turn, in the order of the nodes' names, and whoever finds it said
is silent; so it is said once, by whichever node is alive. Made and run by app/agent_pools.py.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Protocol

from clew.api.conditions import with_condition
from clew.api.kinds import IP_POOL, Kind
from clew.api.objects import Object, dig
from clew.base.addresses import family_of, network
from clew.base.clock import Clock, rfc3339
from clew.base.errors import Problem
from clew.facts.ippool import BLOCK_SIZE, IPPool
from clew.facts.node import Node
from clew.node.ipam.pools import GoodPools, PoolTables
from clew.store.table import Table
from clew.watch.errors import ApiError
from clew.watch.events import EventRecorder, Writer

logger = logging.getLogger(__name__)

TURN, TURNS = 0.1, 50  # seconds between two nodes' turns, and how many there are
RETRY = 5.0
DEFAULTS = {4: "default-ipv4-ippool", 6: "default-ipv6-ippool"}  # Calico's names


class Server(Writer, Protocol):
    """What this part needs of a client."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object: ...

    async def patch(
        self, kind: Kind, name: str, body: object, namespace: str = "", *, subresource: str = ""
    ) -> Object: ...


async def make_first(client: Server, table: Table[IPPool], cidrs: Iterable[str]) -> None:
    """Where a cluster has no IPPool at all: one a family for the configured ranges, as Calico does at its start.

    A range that is smaller than a usual block is one block.
    """
    await table.wait_in_sync()
    if len(table):
        return
    for cidr in cidrs:
        spec = {"cidr": cidr, "natOutgoing": True, "nodeSelector": "all()"}
        if (prefix := network(cidr).prefixlen) > BLOCK_SIZE[family_of(cidr)]:
            spec["blockSize"] = prefix
        name = DEFAULTS[family_of(cidr)]
        made = {"apiVersion": IP_POOL.api_version, "kind": IP_POOL.kind, "metadata": {"name": name}, "spec": spec}
        try:
            await client.create(IP_POOL, made)
        except ApiError as refusal:
            if not refusal.already_exists:
                logger.warning("cannot make IPPool %s: %s", name, refusal)


class Verdicts:
    def __init__(self, node: str, tables: PoolTables, good: GoodPools, clock: Clock) -> None:
        self._node = node
        self._table = tables.pools
        self._nodes = tables.nodes
        self._good = good
        self._clock = clock

    async def run(self, client: Server) -> None:
        """For ever."""
        recorder = EventRecorder(client, "clew-agent", self._node)
        changed = asyncio.Event()
        self._good.on_change(changed.set)
        await self._table.wait_in_sync()
        while True:
            changed.clear()
            if not self._unsaid():
                await changed.wait()
                continue
            await self._clock.sleep(turn(self._node, self._nodes))
            try:
                for pool, problem in self._unsaid():
                    await self._say(client, recorder, pool, problem)
            except ApiError as trouble:
                logger.warning("cannot write the condition of an IPPool: %s", trouble)
            with contextlib.suppress(TimeoutError):  # our own word comes back by the watch
                async with asyncio.timeout(RETRY):
                    await changed.wait()

    def _unsaid(self) -> list[tuple[IPPool, Problem | None]]:
        wrong = {problem.origin: problem for problem in self._good()[1]}
        verdicts = [(pool, wrong.get(pool.origin)) for _, pool in self._table.items()]
        return [(pool, problem) for pool, problem in verdicts if (pool.valid, pool.said) != _verdict(problem)]

    async def _say(self, client: Server, recorder: EventRecorder, pool: IPPool, problem: Problem | None) -> None:
        now = await client.get(IP_POOL, pool.name)
        status, message = _verdict(problem)
        condition = {
            "type": "Valid", "status": str(status), "message": message, "reason": "Invalid" if problem else "Valid",
        }  # fmt: skip
        conditions = with_condition(dig(now, "status", "conditions"), condition, rfc3339(self._clock.now()))
        await client.patch(IP_POOL, pool.name, {"status": {"conditions": conditions}}, subresource="status")
        if problem is not None:
            logger.warning("%s: %s", pool.origin, message)
            await recorder.record(now, "Warning", "InvalidPool", message)


def turn(node: str, nodes: Table[Node]) -> float:
    """How many seconds a node lets others speak first."""
    names = sorted(name for _, name in dict(nodes.items()))
    place = names.index(node) if node in names else len(names)
    return min(place, TURNS) * TURN


def _verdict(problem: Problem | None) -> tuple[bool, str]:
    return problem is None, problem.said if problem else ""
