"""What each CNI command does: commands on one durable fact, the attachment.

ADD promises addresses in the journal, connects, and answers when the pod's own link is there; where that fails, nothing
of it stays. DEL disconnects, and gives the addresses back when the link is gone. Both may be repeated. Calls for one
attachment follow each other; others run side by side. CNI specification 1.1, section 2.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
from msgspec.structs import astuple

from clew.base.errors import WorldError
from clew.base.metrics import Registry
from clew.cni import framing, result
from clew.cni.errors import CniError, Code
from clew.cni.ip_ranges import FIELD
from clew.cni.previous import behind
from clew.cni.request import Call, parse
from clew.cni.versions import NEWEST
from clew.compile import asks, links
from clew.compile.asks import Asks
from clew.compile.ipam import ExhaustedError, UnsuitableError
from clew.compile.routes import LEAST
from clew.compile.stretches import part
from clew.dataplane.netlink import render
from clew.facts.attachment import Attachment, Bandwidth, PodRef, PortMapping
from clew.facts.pod_asks import ADDRESSES
from clew.kernel.errors import KernelError
from clew.node.attachments import Attachments, PortTakenError, TakenError
from clew.node.ipam.book import BusyError
from clew.node.ipam.lookup import PodLookup
from clew.node.ipam.wish import Wish
from clew.node.podnet import LostError, PodNetwork
from clew.node.spool import Spool
from clew.watch.errors import ApiError

logger = logging.getLogger(__name__)

Place = Literal["pod", "node", "nowhere"]
Key = tuple[str, str]

DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}


class CniCalls:
    def __init__(
        self, attachments: Attachments, network: PodNetwork, spool: Spool, pods: PodLookup, registry: Registry
    ) -> None:
        self._pods = pods
        self._attachments = attachments
        self._network = network
        self._spool = spool
        self._locks: dict[Key, tuple[asyncio.Lock, list[None]]] = {}
        self._burying = asyncio.Lock()
        self._count = registry.counter("clew_cni_requests_total", "CNI calls by command and code", ("command", "code"))
        self._seconds = registry.histogram("clew_cni_request_seconds", "time to answer CNI calls", ("command",))
        self._in_use = registry.gauge("clew_ipam_addresses_in_use", "addresses given to pods", ("family",))
        registry.before_render(self._count_addresses)
        self._linkless: frozenset[Key] = frozenset()

    async def start(self) -> None:
        """Release what has no link any more, then carry out the DELs that waited; the network runs by now."""
        self._spool.prepare()
        for key in sorted(self._linkless):
            logger.warning("container %s has no link (any more): its addresses are free", key[0])
            await self._try_delete(key)
        await self._consume_tombstones()
        await self._network.caught_up()

    def adopt(self) -> None:
        """Compare journal and kernel; blocking, before the network runs."""
        self._linkless = self._network.start()

    async def answer(self, data: bytes, ns: int | None, place: Place = "pod") -> bytes:
        """The answer to one call as the plugin sent it; never raises. `place`: whose network the descriptor is of."""
        started = time.monotonic()
        command, version = "?", NEWEST
        try:
            env, config = framing.decode_call(data)
            command, version = env.get("CNI_COMMAND", "?"), _version_of(config)
            call = parse(env, config)
            _check_place(call, place)
            body = await self._do(call, ns)
        except CniError as refusal:
            self._count.add(command, str(int(refusal.code)))
            logger.warning("CNI %s: %s", command, refusal)
            return framing.encode_answer(result.encode_error(refusal, version), failed=True)
        self._count.add(command, "0")
        self._seconds.observe(time.monotonic() - started, command)
        return framing.encode_answer(body, failed=False)

    def _count_addresses(self) -> None:
        addresses = list(self._attachments.addresses())
        six = sum(1 for address in addresses if ":" in address)
        self._in_use.set(six, "IPv6")
        self._in_use.set(len(addresses) - six, "IPv4")

    async def _do(self, call: Call, ns: int | None) -> bytes:
        try:
            match call.command:
                case "ADD" | "CHECK" if call.config.loopback:
                    made = await self._loopback(call, ns)
                    return result.encode(made, call.config.version) if call.command == "ADD" else b""
                case "DEL" | "GC" | "STATUS" if call.config.loopback:
                    return b""
                case "ADD":
                    made, earlier = await self._add(call, ns), call.config.previous
                    version = call.config.version
                    return result.encode(made, version) if earlier is None else behind(earlier, made, version)
                case "DEL":
                    await self._delete(call.key)
                case "CHECK":
                    await self._check(call, ns)
                case "GC":
                    await self._collect(call)
                case "VERSION":
                    return result.encode_versions()
                case "STATUS" if self._network.unready:
                    raise CniError(Code.NOT_AVAILABLE, "the pod network is not ready", self._network.unready)
        except KernelError as refusal:
            raise CniError(Code.KERNEL_REFUSED, f"{call.command} failed in the kernel", str(refusal)) from refusal
        except WorldError as trouble:
            raise CniError(Code.IO_FAILURE, f"{call.command} failed on disk", str(trouble)) from trouble
        return b""

    async def _add(self, call: Call, ns: int | None) -> result.Result:
        if ns is None:
            raise CniError(Code.INVALID_ENVIRONMENT, "the plugin passed no namespace", f"CNI_NETNS is {call.netns!r}")
        if self._network.unready:
            raise CniError(Code.TRY_AGAIN_LATER, "the pod network is not ready", self._network.unready)
        if 0 < call.config.mtu < LEAST[6] and 6 in self._network.families:
            text = f"mtu is {call.config.mtu}"
            raise CniError(Code.INVALID_CONFIGURATION, text, f"it must be 0, or at least {LEAST[6]} for IPv6")
        await self._consume_tombstones()
        async with self._alone(call.key):
            attachment = await self._reserve(call)
            try:
                await self._network.attach(attachment, ns)
            except (KernelError, LostError) as failure:
                await self._detach(call.key)
                raise CniError(Code.KERNEL_REFUSED, f"cannot attach {attachment.origin}", str(failure)) from failure
        return _result_of(attachment, call)

    async def _loopback(self, call: Call, ns: int | None) -> result.Result:
        """Brought up where it is down, as the reference plugin of this name does; CHECK finds it so, or so it is."""
        if ns is None:
            raise CniError(Code.INVALID_ENVIRONMENT, "the plugin passed no namespace", f"CNI_NETNS is {call.netns!r}")
        addresses = await self._network.bring_loopback_up(ns)
        interface = result.Interface(call.ifname, "00:00:00:00:00:00", 0, sandbox=call.netns)
        return result.Result((interface,), tuple(result.IP(each, "", 0) for each in addresses), ())

    async def _reserve(self, call: Call) -> Attachment:
        pod = PodRef(*(call.pod.get(f"K8S_POD_{word}", "") for word in ("NAMESPACE", "NAME", "UID")))
        try:
            return await self._attachments.reserve(self._wish(call, pod, asks.asks(await self._pods.find(pod))))
        except (ApiError, BusyError) as trouble:
            raise CniError(
                Code.TRY_AGAIN_LATER, f"the API server is needed to give pod {pod} addresses", str(trouble)
            ) from trouble
        except TakenError as taken:
            raise CniError(
                Code.ALREADY_ATTACHED,
                f"container {call.container} has an attachment named {call.ifname} already",
                "DEL it before another ADD",
            ) from taken
        except PortTakenError as taken:
            raise CniError(Code.PORT_TAKEN, str(taken), "choose another, or another node") from taken
        except UnsuitableError as refused:
            raise CniError(Code.ADDRESS_REFUSED, str(refused), f"pod {pod}" if pod.name else "") from refused
        except ExhaustedError as empty:
            raise CniError(Code.NO_ADDRESS_LEFT, str(empty), empty.details) from empty

    def _wish(self, call: Call, pod: PodRef, asked: Asks) -> Wish:
        """The runtime's choice of addresses goes before the Pod's."""
        config = call.config
        return Wish(
            call.container,
            call.ifname,
            config.name,
            call.netns,
            config.mtu or self._network.mtu,
            pod,
            config.ips or asked.ips,
            "ips" if config.ips else asks.field(ADDRESSES),
            tuple(PortMapping(p.host_port, p.container_port, p.protocol, p.host_ip) for p in config.ports),
            config.mac,
            self._network.linking,
            Bandwidth(*astuple(config.bandwidth)),
            asked.pools,
            {family: part(FIELD, [(each.first, each.last) for each in of]) for family, of in config.ranges.items()},
            asked.namespace,
        )

    async def _delete(self, key: Key) -> None:
        async with self._alone(key):
            await self._detach(key)

    async def _try_delete(self, key: Key) -> str:
        """Why it stays; empty where it went. One that cannot go must not hold up others."""
        try:
            await self._delete(key)
        except WorldError as trouble:
            logger.warning("the attachment of container %s as %s stays: %s", *key, trouble)
            return f"{'/'.join(key)}: {trouble}"
        return ""

    async def _detach(self, key: Key) -> None:
        """Disconnect and give back; whatever of it is not there is fine."""
        await self._network.detach(key)
        await self._attachments.release(key)

    async def _check(self, call: Call, ns: int | None) -> None:
        attachment = self._attachments.get(call.key)
        if attachment is None:
            raise CniError(Code.UNKNOWN_CONTAINER, f"container {call.container} is not attached as {call.ifname}")
        if ns is None:
            raise CniError(Code.INVALID_ENVIRONMENT, "the plugin passed no namespace", f"CNI_NETNS is {call.netns!r}")
        said, have = call.config.previous, links.port(attachment).addresses
        if said is None:
            raise CniError(
                Code.INVALID_CONFIGURATION, "prevResult is missing", "CHECK needs the result that ADD answered"
            )
        if problem := said.problem(call.ifname, call.netns, have):
            raise CniError(Code.CHECK_FAILED, problem, f"{attachment.origin} has {', '.join(have)}")
        async with self._alone(call.key):
            if problem := await self._network.check(call.key, ns, said.mac(call.ifname)):
                raise CniError(Code.CHECK_FAILED, f"the attachment of {attachment.origin} is broken", problem)

    async def _collect(self, call: Call) -> None:
        """Remove this network's attachments that the runtime does not know; one that is being made is left alone.

        As many as possible: those that cannot go are named when all the others are gone.
        """
        valid = set(call.config.valid or ())
        stale = [key for key in tuple(self._attachments.attached()) if key not in valid and key not in self._locks]
        left = []
        for key in stale:
            attachment = self._attachments.get(key)
            if attachment is not None and attachment.network == call.config.name:
                logger.info("garbage: %s", attachment.origin)
                left.append(await self._try_delete(key))
        if stayed := [why for why in left if why]:
            raise CniError(Code.KERNEL_REFUSED, f"GC left {len(stayed)} of {len(left)} attachments", "; ".join(stayed))

    async def _consume_tombstones(self) -> None:
        """Those that cannot be carried out wait for the next time, and keep their addresses."""
        async with self._burying:
            for path, call in self._spool.waiting():
                if not await self._try_delete(call.key):
                    self._spool.done(path)

    @asynccontextmanager
    async def _alone(self, key: Key) -> AsyncIterator[None]:
        """One call at a time for an attachment."""
        lock, users = self._locks.setdefault(key, (asyncio.Lock(), []))
        users.append(None)
        try:
            async with lock:
                yield
        finally:
            users.pop()
            if not users:
                self._locks.pop(key, None)


def _check_place(call: Call, place: Place) -> None:
    """CniError where a pod's interface cannot be put: in the node's own network, or in what is none."""
    text = f"CNI_NETNS is {call.netns!r}: "
    if place == "nowhere":
        raise CniError(Code.INVALID_ENVIRONMENT, f"{text}no network namespace", "name the file of one")
    if place == "node" and not call.any_netns:
        raise CniError(
            Code.INVALID_ENVIRONMENT, f"{text}the node's own network", "name a pod's, or set CNI_NETNS_OVERRIDE=1"
        )


def _result_of(attachment: Attachment, call: Call) -> result.Result:
    """Host's end and pod's end, and before them the bridge where there is one, as the reference bridge plugin lists."""
    port = render.port(links.port(attachment))
    interfaces = [
        result.Interface(port.link.name, port.link.mac, attachment.mtu),
        result.Interface(port.pod.ifname, port.pod.mac, attachment.mtu, sandbox=call.netns),
    ]
    if port.link.master:
        bridge_mac = render.mac_of(tuple(links.gateway_of(address) for address in attachment.addresses))
        interfaces.insert(0, result.Interface(port.link.master, bridge_mac, attachment.mtu))
    pairs = tuple(zip(port.pod.addresses, port.pod.gateways, strict=True))
    return result.Result(
        tuple(interfaces),
        tuple(result.IP(address, gateway, len(interfaces) - 1) for address, gateway in pairs),
        tuple((DEFAULTS[6 if ":" in gateway else 4], gateway) for _, gateway in pairs),
        call.config.dns,
    )


class _Versioned(msgspec.Struct):
    cniVersion: str = NEWEST  # noqa: N815 - the specification's own name


def _version_of(config: bytes) -> str:
    """The version to answer an error in, as far as it can be read."""
    try:
        return msgspec.json.decode(config, type=_Versioned).cniVersion
    except msgspec.DecodeError:
        return NEWEST
