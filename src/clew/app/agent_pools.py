"""How this node's agent comes by addresses, made from its configuration: by spec.podCIDRs, or by blocks of IPPools.

Made and run by app/agent.
"""

from collections.abc import Coroutine
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from clew.api import kinds
from clew.app.agent_config import AgentConfiguration
from clew.app.network_config import POOLS
from clew.base.clock import Clock
from clew.base.errors import Problem
from clew.base.metrics import Registry
from clew.facts import ipamblock, ipamconfiguration, ippool, ipreservation, pod_asks
from clew.facts.ipamblock import Block
from clew.facts.ipamconfiguration import IpamConfiguration
from clew.facts.ippool import IPPool
from clew.facts.ipreservation import Reservation
from clew.facts.node import IPAM_ANNOTATION
from clew.facts.node import POOLS as BY_POOLS
from clew.facts.pod_asks import PodAsks
from clew.node.announcement import Announcement, announce
from clew.node.attachments import Attachments
from clew.node.ipam.book import BlockBook
from clew.node.ipam.claims import BlockClaims
from clew.node.ipam.figures import PoolFigures
from clew.node.ipam.ledger import ApiLedger
from clew.node.ipam.lookup import PodLookup
from clew.node.ipam.pod_cidr import PodCidrIpam
from clew.node.ipam.pool_counts import PoolCounts
from clew.node.ipam.pools import CurrentRules, GoodPools, PoolIpam, PoolTables
from clew.node.ipam.verdicts import Verdicts, make_first
from clew.node.ipam.view import BlockView
from clew.node.proxy import ProxyTables
from clew.store.table import Table
from clew.watch.client import Client
from clew.watch.events import EventRecorder
from clew.watch.reflector import Reflector

if TYPE_CHECKING:
    from clew.node.ipam.port import Ipam

# Where the pods' addresses come from: other nodes keep off a Node's spec.podCIDRs until it says that from pools.
FROM_POD_CIDRS, FROM_POOLS = (Announcement(IPAM_ANNOTATION, said, attrgetter("ipam")) for said in ("", BY_POOLS))


class AddressPart:
    """`ipam` is what the pod network asks, `lookup` what CNI calls do."""

    def __init__(
        self, node: str, configuration: AgentConfiguration, tables: ProxyTables, clock: Clock, client: Client
    ) -> None:
        nodes = self._nodes = tables.nodes
        self._node = node
        self._cidrs = configuration.cluster_cidrs
        self._clock = clock
        self._client = client
        self._recorder = EventRecorder(client, "clew-agent", node)
        self._pods: Table[PodAsks] = Table("pods")
        self._namespaces: Table[PodAsks] = Table("namespaces")
        by_pools = configuration.network.ipam.type == POOLS
        self.lookup = PodLookup(self._pods, self._namespaces if by_pools else None, self._ask)
        self._pools: PoolIpam | None = None
        self.ipam: Ipam = PodCidrIpam()
        if by_pools:
            self._tables = PoolTables(
                Table[IPPool]("ippools"), Table[Block]("ipamblocks"), nodes, Table[Reservation]("ipreservations"),
                Table[IpamConfiguration]("ipamconfigurations"),
            )  # fmt: skip
            self._view = BlockView(self._tables.blocks)
            book = BlockBook(ApiLedger(client), self._view, lambda: [name for _, name in dict(nodes.items())])
            claims = BlockClaims(node, book, clock, CurrentRules(node, self._tables))
            self._good = GoodPools(self._tables, tables.ranges, configuration.service_cidrs)
            self.ipam = self._pools = PoolIpam(node, self._tables, self._good, claims, clock)

    def tasks(self, attachments: Attachments, registry: Registry) -> list[Coroutine[Any, Any, None]]:
        """What has to run while the agent does."""
        reflect = partial(Reflector, self._client, clock=self._clock)
        here = f"spec.nodeName={self._node}"
        tasks = [reflect(kinds.POD, pod_asks.decode, self._pods, fields=here).run()]
        if self._pools is None:
            return [*tasks, announce(self._client, self._nodes, self._node, FROM_POD_CIDRS, self._clock)]
        pools, blocks, _, reservations, configurations = self._tables
        verdicts = Verdicts(self._node, self._tables, self._good, self._clock)
        counts = PoolCounts(self._node, self._tables, self._good, self._clock)
        progress = self._view.progress
        PoolFigures(registry, self._node, self._good, self._view, attachments)
        return [
            *tasks,
            reflect(kinds.NAMESPACE, pod_asks.decode_namespace, self._namespaces).run(),
            reflect(kinds.IP_POOL, ippool.decode, pools).run(),
            reflect(kinds.IPAM_BLOCK, ipamblock.decode, blocks, progress=progress).run(),
            reflect(kinds.IP_RESERVATION, ipreservation.decode, reservations).run(),
            reflect(kinds.IPAM_CONFIGURATION, ipamconfiguration.decode, configurations).run(),
            make_first(self._client, pools, self._cidrs),
            verdicts.run(self._client),
            counts.run(self._client),
            self._pools.run(attachments, self._tell),
            self._announce(self._pools),
        ]

    async def _announce(self, pools: PoolIpam) -> None:
        await pools.entered.wait()
        await announce(self._client, self._nodes, self._node, FROM_POOLS, self._clock)

    async def _tell(self, problem: Problem) -> None:
        """An Event where the object's owner looks."""
        kind, _, name = problem.origin.partition(" ")
        namespace, _, name = name.rpartition("/")
        if kind == "Pod":
            seen: PodAsks | Block | None = self._pods.get((namespace, name))
            about: dict[str, Any] = {"apiVersion": "v1", "kind": kind}
        elif kind == kinds.IPAM_BLOCK.kind:
            seen = self._tables.blocks.get(("", name))
            about = {"apiVersion": kinds.IPAM_BLOCK.api_version, "kind": kind}
        else:
            return
        meta = {"namespace": namespace, "name": name, "uid": seen.uid if seen is not None else ""}
        await self._recorder.record(about | {"metadata": meta}, "Warning", "AddressConflict", problem.said)

    async def _ask(self, namespace: str, name: str) -> PodAsks:
        return pod_asks.from_api(await self._client.get(kinds.POD, name, namespace))
