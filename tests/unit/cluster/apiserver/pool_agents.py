"""Agents' whole address part against the real API server: their own watches, writes and turns, without a kernel.

Each promises addresses as its CNI side would; the clock of all can be put forward.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from clew.api import kinds
from clew.app.agent_pools import FROM_POOLS
from clew.app.manifest_objects import ClusterFacts, objects
from clew.base.clock import SystemClock
from clew.base.errors import Problem
from clew.facts import ipamblock, ipamconfiguration, ippool, ipreservation, node
from clew.facts.attachment import PodRef
from clew.node.announcement import announce
from clew.node.ipam.book import BlockBook
from clew.node.ipam.claims import BlockClaims
from clew.node.ipam.ledger import ApiLedger
from clew.node.ipam.pool_counts import PoolCounts
from clew.node.ipam.pools import CurrentRules, GoodPools, PoolIpam, PoolTables
from clew.node.ipam.verdicts import Verdicts
from clew.node.ipam.view import BlockView
from clew.node.ipam.wish import Wish
from clew.store.table import Table
from clew.watch.client import Client
from clew.watch.errors import ApiError
from clew.watch.reflector import Reflector

FACTS = ClusterFacts(("10.244.0.0/16",), ("10.96.0.0/16",))
LIMIT = 15  # seconds in which something has to come to pass


class AheadClock(SystemClock):
    """The machine's, and as far ahead of it as a test has put it."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._moved = asyncio.Event()

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self._ahead)

    async def sleep(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._moved.wait()

    def forward(self, seconds: float) -> None:
        self._ahead += seconds
        self._moved.set()
        self._moved = asyncio.Event()


class PoolAgent:
    """One node's; `given` is what its journal says."""

    def __init__(self, name: str, client: Client, clock: AheadClock) -> None:
        self.name, self._client = name, client
        self.tables = PoolTables(
            Table("ippools"), Table("ipamblocks"), Table("nodes"), Table("ipreservations"), Table("ipamconfigurations")
        )
        view = BlockView(self.tables.blocks)
        book = BlockBook(ApiLedger(client), view, lambda: [name for _, name in dict(self.tables.nodes.items())])
        self._good = GoodPools(self.tables, None, FACTS.service_cidrs)
        claims = BlockClaims(name, book, clock, CurrentRules(name, self.tables))
        self.ipam = PoolIpam(name, self.tables, self._good, claims, clock)
        self.last = ()
        self.given: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.told: list[Problem] = []
        kinds_of = (kinds.IP_POOL, kinds.IPAM_BLOCK, kinds.NODE, kinds.IP_RESERVATION, kinds.IPAM_CONFIGURATION)
        facts: tuple[Any, ...] = (ippool, ipamblock, node, ipreservation, ipamconfiguration)
        watches = zip(kinds_of, facts, self.tables, strict=True)
        progress = {kinds.IPAM_BLOCK: view.progress}
        work = [
            *(Reflector(client, kind, fact.decode, table, progress=progress.get(kind)).run()
              for kind, fact, table in watches),
            Verdicts(name, self.tables, self._good, clock).run(client),
            PoolCounts(name, self.tables, self._good, clock).run(client),
            self.ipam.run(self, self._tell),
            announce(client, self.tables.nodes, name, FROM_POOLS, clock),
        ]  # fmt: skip
        self.tasks = [asyncio.ensure_future(each) for each in work]

    async def _tell(self, problem: Problem) -> None:
        self.told.append(problem)

    def promised(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        return self.given

    async def ready(self) -> None:
        async with asyncio.timeout(LIMIT):
            for table in self.tables:
                await table.wait_in_sync()

    async def add(self, name: str, *ips: str, **more: Any) -> list[str]:
        """Bare addresses for a pod; what cannot be had raises as it does for a CNI call."""
        handle = f"{name}-on-{self.name}/eth0"
        wish = Wish(
            handle.partition("/")[0], "eth0", "n", "/ns", 1500, PodRef("default", name), ips, linking="routed", **more
        )
        self.given[handle] = f"default/{name}", ()
        try:
            found = await self.ipam.choose(wish, self)
        except BaseException:
            del self.given[handle]
            raise
        bare = tuple(each.partition("/")[0] for each in found)
        self.given[handle] = f"default/{name}", bare
        return list(bare)

    def remove(self, name: str) -> None:
        del self.given[f"{name}-on-{self.name}/eth0"]
        self.ipam.freed()

    @property
    def addresses(self) -> list[str]:
        return [address for _, found in self.given.values() for address in found]

    async def stop(self) -> None:
        for each in self.tasks:
            each.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._client.close()


class PoolCluster:
    """Its objects as an administrator makes them."""

    def __init__(self, running: Any, admin: Client) -> None:
        self._running, self.admin = running, admin
        self.clock = AheadClock()
        self.agents: list[PoolAgent] = []

    async def agent(self, name: str) -> PoolAgent:
        await self.node(name)
        found = PoolAgent(name, self._running.client(), self.clock)
        self.agents.append(found)
        await found.ready()
        return found

    async def node(self, name: str, **more: Any) -> None:
        with suppress(ApiError):
            made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, **more}
            await self.admin.create(kinds.NODE, made)

    async def pool(self, name: str, cidr: str, **spec: Any) -> None:
        made = {"apiVersion": kinds.IP_POOL.api_version, "kind": "IPPool", "metadata": {"name": name}}
        await self.admin.create(kinds.IP_POOL, {**made, "spec": {"cidr": cidr, **spec}})
        await self.known(name)

    async def known(self, name: str) -> None:
        for agent in self.agents:
            await eventually(lambda agent=agent: agent.tables.pools.get(("", name)) is not None, f"pool {name}")

    async def pod(self, name: str, node_name: str, *ips: str) -> None:
        spec = {"nodeName": node_name, "containers": [{"name": "it", "image": "it"}]}
        meta = {"name": name, "namespace": "default"}
        await self.admin.create(kinds.POD, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        status = {"podIP": ips[0], "podIPs": [{"ip": each} for each in ips], "phase": "Running"} if ips else {}
        await self.admin.patch(kinds.POD, name, {"status": status}, "default", subresource="status")

    async def end_pod(self, name: str) -> None:
        await self.admin.delete(kinds.POD, name, "default", grace_period=0)

    async def condition(self, name: str) -> tuple[str, str]:
        """Of an IPPool: status and message, once somebody has written it."""
        for _ in range(LIMIT * 20):
            status = (await self.admin.get(kinds.IP_POOL, name)).get("status", {})
            if found := status.get("conditions"):
                return found[0]["status"], found[0].get("message", "")
            await asyncio.sleep(0.05)
        raise AssertionError(f"no condition on {name}")


async def eventually(true: Any, what: str) -> None:
    """Until it is; `true` is asked again and again."""
    for _ in range(LIMIT * 50):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"it never came to pass: {what}")


@asynccontextmanager
async def pool_cluster(running: Any, admin: Client) -> AsyncIterator[PoolCluster]:
    for each in objects(FACTS):
        if each["kind"] == "CustomResourceDefinition":
            await admin.create(kinds.CRD, each)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}
    with suppress(ApiError):
        await admin.create(kinds.SERVICE_ACCOUNT, account)
    found = PoolCluster(running, admin)
    try:
        yield found
    finally:
        await asyncio.gather(*(agent.stop() for agent in found.agents))
