"""The pod network of one node at work: facts in, kernel as they say, answers to whoever waits for a pod's link.

One task runs the flow: what changed in the tables is compiled and rendered on the loop, the difference is applied in a
worker thread, the next round takes what came meanwhile. Ports follow from the attachments alone, so they are kept,
made and removed without any API server; the bridge needs this node's ranges, routes and masquerade the whole list of
nodes, and none of these is touched before that list is complete.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from clew.base.addresses import family_of
from clew.base.clock import Clock
from clew.compile import ipsec, links, masquerade, ranges, routes
from clew.compile import routing as speaking
from clew.compile.ipam import Pool
from clew.compile.routes import LEAST, Between
from clew.dataplane.masquerade import render as nat
from clew.dataplane.netlink import render
from clew.dataplane.netlink.apply import Outcome
from clew.dataplane.netlink.objects import BRIDGE, BridgeLink, NodeRoute
from clew.dataplane.netlink.underlay import Underlay
from clew.dataplane.overlay import render as tunnelling
from clew.dataplane.overlay.objects import DEVICES, IPSEC
from clew.facts.attachment import Attachment, Linking
from clew.facts.node import Node
from clew.ir.routes import PodRoute
from clew.kernel.netlink import Event
from clew.node.ipam.port import Ipam, Layout
from clew.node.planes import HOST_PORTS, READ_BACK, Planes
from clew.node.podnet_settings import NetworkSettings
from clew.node.untold import Untold
from clew.reconcile import Pace, Turn
from clew.store.table import StaleRevisionError, Table

if TYPE_CHECKING:
    from clew.base.errors import Problem
    from clew.facts.ipsec import Standing
    from clew.kernel.errors import KernelError

logger = logging.getLogger(__name__)

Key = tuple[str, str]

RETRY = 1.0  # seconds after which a refused change is tried again
DRIFT = 30.0  # seconds after which everything is read back, should somebody have changed it
STALE = (-1, -1, -1, False)
DEFAULT_MTU = 1500  # where no link carries the node's address


class LostError(Exception):
    """The link is gone, and nobody but the runtime knows the namespace to make it anew in."""


class PodNetwork:
    def __init__(
        self,
        settings: NetworkSettings,
        nodes: Table[Node],
        attachments: Table[Attachment],
        planes: Planes,
        clock: Clock,
        ipam: Ipam,
    ) -> None:
        self._node = settings.node
        self._nodes = nodes
        self._attachments = attachments
        self._planes = planes
        self._settings = settings
        self._ipam = ipam
        self._pace = Pace(clock, least=0, most=DRIFT, retry=RETRY)
        self._waiters: list[tuple[Key, asyncio.Future[None]]] = []
        self._driving = asyncio.Lock()  # held by whoever changes or reads the planes, in whatever thread
        self._disturbed = False
        self._ports_at = 0
        self._ranges_at = STALE  # revisions of nodes, of whose ranges are where, of keys; whether there is a bridge
        self._said: frozenset[str] = frozenset()
        self._underlay = Underlay()
        self.ranges: tuple[str, ...] = ()  # this node's
        self.families: frozenset[int] = frozenset()  # of the addresses that there are to give
        self._untold = Untold()
        self._entered: Standing | None = None  # what others may know once the tunnels are as they were last asked for
        self._paths: Mapping[str, int] = {}
        self.on_peers: Callable[[Mapping[str, str], int], None] = _nobody_asks
        self.mtu = 0
        self._unnamed = False  # nobody could send to this node
        self.problems: tuple[Problem, ...] = ()
        self.failures: dict[str, KernelError] = {}
        self.unready = "the agent has not read the kernel yet"
        self.ready = asyncio.Event()  # set when pods can be attached for the first time

    @property
    def linking(self) -> Linking:
        """How the next pod is connected."""
        return self._settings.linking

    def start(self) -> frozenset[Key]:
        """Read the kernel and adopt what is whole; returns the attachments that have no link, or half of one.

        A crash in the middle of an ADD leaves such, and so does a reboot, which ends every pod. Nobody uses their
        addresses any more: the caller releases them. Blocking, a few milliseconds; before `run`.
        """
        self._compile_ports()
        attached = self._keys()
        return frozenset(attached - self._planes.whole(attached))

    async def run(self) -> None:
        """For ever; only cancellation ends it, and the kernel stays as it is then."""
        looked_at = (self._attachments, self._nodes, self._ipam, self._planes.identity)
        unsubscribe = [each.on_change(self._pace.poke) for each in looked_at]
        try:
            while True:
                turn = await self._pace.turn()
                async with self._driving:
                    await self._turn(turn)
        finally:
            for stop in unsubscribe:
                stop()

    def configure(self, settings: NetworkSettings) -> None:
        """Follow these from the next round on. Pods that are connected keep their links and what these are like."""
        if settings.routing is None or settings.routing != self._settings.routing:
            self._untold.begin()
        self._settings, self._ranges_at = settings, STALE
        self._pace.poke()

    def narrow(self, paths: Mapping[str, int]) -> None:
        """By the address of a node, what the path to it takes where that is less than the link, in bytes.

        `on_peers` is who finds that out: it hears of the nodes' addresses with their names, and of the link's MTU.
        """
        self._paths, self._ranges_at = dict(paths), STALE
        self._pace.poke()

    async def attach(self, attachment: Attachment, ns: int) -> None:
        """Connect it and wait until its link and the pod's end of it are there. KernelError where they cannot be."""
        name = render.host_name(*attachment.key)
        self._planes.links.lend_namespace(name, ns)
        try:
            self._attachments.put(attachment.key, attachment)
            await self.settled(attachment.key)
        finally:
            self._planes.links.lend_namespace(name, None)

    async def detach(self, key: Key) -> None:
        """Disconnect it and wait until its link is gone. KernelError where the kernel keeps it."""
        self._attachments.put(key, None)
        await self.settled(key)

    async def settled(self, key: Key) -> None:
        """Until a round that began after this call has dealt with `key`: KernelError or LostError if not as wanted."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((key, waiter))
        self._pace.poke()
        await waiter

    def notice(self, events: Iterable[Event]) -> None:
        """Something happened in the kernel: read back in the next round if it may concern us."""
        if any(self._planes.links.concerns(event) for event in events):
            self.look_again()

    def look_again(self) -> None:
        """Somebody took or changed something: read back in the next round."""
        self._disturbed = True
        self._pace.poke()

    async def bring_loopback_up(self, ns: int) -> tuple[str, ...]:
        """In a sandbox's namespace; its addresses. KernelError."""
        return await asyncio.to_thread(self._planes.links.bring_loopback_up, ns)

    async def caught_up(self) -> None:
        """Until a round that began after this call is over."""
        await self.settled(("", ""))

    async def check(self, key: Key, ns: int, mac: str = "") -> str:
        """What is wrong with an attachment's two ends; empty where nothing is (CNI CHECK). `mac`: of the pod's end."""
        async with self._driving:
            return await asyncio.to_thread(self._planes.problem, key, ns, mac)

    async def _turn(self, turn: Turn) -> None:
        read_back = turn is not Turn.CHANGE or self._disturbed
        self._disturbed = False
        self._compile_ports()
        if self._untold and turn is not Turn.CHANGE and self._untold.told(self._planes.links.told()):
            self._ranges_at = STALE
        self._compile_nodes(look=read_back)
        waiting, self._waiters = self._waiters, []
        outcome = await asyncio.to_thread(self._planes.apply, read_back=read_back)
        self.failures = dict(outcome.failures)
        self._confirm()
        if outcome.failures or self._untold:
            self._pace.failed()
        self._report(outcome)
        self._set_ready()
        for key, waiter in waiting:
            self._answer(key, waiter)

    def _confirm(self) -> None:
        """Other nodes may send under keys for which everything is there."""
        failed = any(name == READ_BACK or name.startswith(IPSEC) for name in self.failures)
        if self._entered is not None and not failed:
            self._planes.identity.applied(self._entered)

    def _compile_ports(self) -> None:
        try:
            changed, self._ports_at = self._attachments.changes_since(self._ports_at)
        except StaleRevisionError:
            self._ports_at = self._attachments.revision
            changed = self._keys()
            self._planes.keep_only(changed)
        for key in changed:
            attachment = self._attachments.get(key)
            if attachment is None:
                self._planes.drop(key)
            else:
                self._planes.want(attachment)

    def _keys(self) -> set[Key]:
        return {key for key, _ in self._attachments.items()}

    def _compile_nodes(self, *, look: bool) -> None:
        """What follows from the list of nodes, whole: it changes seldom. `look`: the links below may have changed."""
        ranges_at = self._nodes.revision, self._ipam.revision, self._planes.identity.revision, self._bridged()
        if not self._in_sync() or (ranges_at == self._ranges_at and not look):
            return
        own = self._nodes.get(("", self._node))
        underlay = self._planes.links.underlay(own.internal_ips, DEVICES) if own is not None else Underlay()
        if not underlay.mtu:  # a node whose address changes has it in one place and not yet in the other
            underlay = self._underlay
        if ranges_at == self._ranges_at and underlay == self._underlay:
            return
        self._ranges_at, self._underlay = ranges_at, underlay
        held = (each for _, each in self._attachments.items())
        layout = self._ipam.layout((node for _, node in self._nodes.items()), own, held)
        everyone, wrong = ranges.claimed(layout.nodes, self._node)
        self.ranges, self.families = tuple(pool.cidr for pool in layout.own), layout.families
        between = replace(
            self._settings.between, subnets=underlay.subnets, paths=self._paths, ring=self._planes.identity.ring
        )
        self.on_peers(_peers(everyone, own) if self._settings.probing else {}, underlay.mtu)
        found, problems = routes.routes(everyone, self._node, between)
        nobody = () if self._bridged() else tuple(map(render.nobody, links.shared(layout.own)))
        tunnelled = [way for way in found.values() if way.tunnel]
        plain = {way.destination: way for way in found.values() if not way.tunnel}
        told = self._settings.routing is not None
        ways, behind = self._untold.ways(plain, underlay.subnets) if told else (list(plain.values()), [])
        self._planes.links.want_routes([*map(_rendered, (*tunnelled, *ways)), *map(render.behind, behind), *nobody])
        self._unnamed = own is not None and not own.internal_ips and between.encapsulation is not None
        if own is not None and layout.families and not self._unnamed:
            self._want_own(own, replace(layout, nodes=everyone), between, tuple(found.values()))
        unkeyed = self._planes.identity.problems if between.encapsulation == "ipsec" else ()
        self.problems = tuple(dict.fromkeys((*wrong, *problems, *layout.problems, *unkeyed)))

    def _in_sync(self) -> bool:
        return self._nodes.in_sync and self._ipam.in_sync

    def _want_own(self, own: Node, layout: Layout, between: Between, ways: Sequence[PodRoute]) -> None:
        """What this node has for its own pods: bridge, tunnels' ends, router and masquerade."""
        everyone, pools, settings = layout.nodes, layout.own, self._settings
        lower = self._underlay.mtu or DEFAULT_MTU
        self.mtu = settings.mtu or between.room(lower, layout.families, own)
        self._planes.links.want_bridge(self._bridge(own, pools), layout.families)
        ends = routes.tunnels(own, pools, everyone, ways, between, lower)
        self._planes.tunnels.want(tunnelling.overlay(ends))
        encrypts = between.encapsulation == "ipsec"
        self._entered = ipsec.standing(between.ring, ends[0].peers, own.ipsec) if encrypts else None
        inside = (*settings.cluster_cidrs, *layout.inside)
        self._planes.router.want(None)
        if settings.routing is not None:
            speaker = speaking.speaker(own, everyone, pools, settings.routing, inside, self._underlay.links)
            elsewhere = tuple(way.destination for way in ways if way.tunnel)
            narrow = {way.destination: way.mtu for way in ways if way.mtu and not way.tunnel}
            self._planes.router.want(replace(speaker, elsewhere=elsewhere, narrow=narrow))
        hidden = layout.hidden if settings.masquerade else ()
        self._planes.nat.want(nat.table(masquerade.masquerade(own, hidden, everyone, inside, settings.plain)))

    def _bridge(self, own: Node, pools: tuple[Pool, ...]) -> BridgeLink | None:
        """With the gateways of the node's ranges; where only former pods are on it, with theirs."""
        if self.linking == "bridge":
            return render.bridge(links.switch(own, pools, self.mtu))
        plugged = [each for _, each in self._attachments.items() if each.linking == "bridge"]
        return render.bridge(links.switch(own, links.plugged_into(plugged), self.mtu)) if plugged else None

    def _bridged(self) -> bool:
        """Whether there is a bridge: for the next pod, or for those that were made with one and stay so."""
        return self.linking == "bridge" or any(each.linking == "bridge" for _, each in self._attachments.items())

    def _set_ready(self) -> None:
        if 6 in self.families and 0 < self.mtu < LEAST[6]:
            self.unready = f"pods would have an MTU of {self.mtu}, and IPv6 needs {LEAST[6]}"
        elif BRIDGE in self.failures:
            self.unready = str(self.failures[BRIDGE])
        elif not self._nodes.in_sync:
            self.unready = "the list of nodes has not arrived from the API server"
        elif self._unnamed:
            self.unready = f"Node {self._node} has no InternalIP yet, and tunnels end at one"
        elif not self._ipam.in_sync or not self.families:
            self.unready = f"Node {self._node} cannot give addresses: {self._ipam.lacking}"
        else:
            self.unready = ""
            self.ready.set()

    def _answer(self, key: Key, waiter: "asyncio.Future[None]") -> None:
        name = render.host_name(*key)
        if waiter.done():
            return
        refusal = self.failures.get(name) or (self.failures.get(HOST_PORTS) if self._has_ports(key) else None)
        if refusal is not None:
            waiter.set_exception(refusal)
        elif name in self._planes.links.ports.updates:
            waiter.set_exception(LostError(f"the link {name} is gone"))
        else:
            waiter.set_result(None)

    def _has_ports(self, key: Key) -> bool:
        attachment = self._attachments.get(key)
        return attachment is not None and bool(attachment.ports)

    def _report(self, outcome: Outcome) -> None:
        """Say each trouble once, not at every try."""
        said = {f"{name}: {refusal}" for name, refusal in outcome.failures.items()}
        said |= {str(problem) for problem in self.problems}
        said |= {f"{name}: its link is gone; it waits for the runtime's DEL" for name in self._planes.links.lost}
        for text in sorted(said - self._said):
            logger.warning("pod network: %s", text)
        if outcome.missing:
            logger.warning(
                "pod network: this kernel has no %s; services reached by a pod on the same node need br_netfilter",
                ", ".join(outcome.missing),
            )
        self._said = frozenset(said)


def _nobody_asks(peers: Mapping[str, str], link: int) -> None:
    """Paths take what the link does."""


def _peers(nodes: Iterable[Node], own: Node | None) -> dict[str, str]:
    """By address the other nodes, in the families that we have."""
    families = [family for family in (4, 6) if own is not None and own.internal_ip(family)]
    others = [node for node in nodes if own is None or node.name != own.name]
    found = {node.internal_ip(family): node.origin for node in others for family in families}
    return {address: origin for address, origin in found.items() if address}


def _rendered(route: PodRoute) -> NodeRoute:
    """By its tunnel, if it leads through one."""
    if route.tunnel is None:
        return render.route(route)
    return render.route(
        route, tunnelling.device(route.tunnel, family_of(route.via)), tunnelling.gateway(route.tunnel, route.via)
    )
