"""forward: questions go to upstream resolvers, whose health is watched; see README.md."""

import asyncio
import random
import struct

import msgspec

from clew.base.errors import WorldError
from clew.servers.dns import message, wire
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.plugins.forward.options import Options, options, tls_context
from clew.servers.dns.plugins.forward.upstream import Connections, Upstream, exchange
from clew.servers.dns.wire import Query, Response

_PATIENCE = 5.0  # seconds for one question, over all tries
_TRY_BOUNDS = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048)


class _Peer:
    """An upstream and how it has done lately."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.name = str(connections.upstream)
        self.fails = 0
        self.checking = False


class Forward(Plugin):
    def __init__(self, chosen: Options, peers: list[_Peer], context: Context) -> None:
        self.options = chosen
        self.peers = peers
        self.clock = context.clock
        self.waiting = 0
        self.turn = 0
        self._zones = [wire.name_to_wire(zone) for zone in chosen.zones]
        self._excepted = [wire.name_to_wire(zone) for zone in chosen.excepted]
        self._sick: asyncio.Queue[_Peer] = asyncio.Queue()
        counter, registry = context.registry.counter, context.registry
        self.requests = counter("coredns_forward_requests_total", "Queries sent to each upstream.", ("to",))
        self.rejects = counter("coredns_forward_max_concurrent_rejects_total", "Refused for too many at once.")
        self.broken = counter("coredns_forward_healthcheck_broken_total", "Queries while every upstream was down.")
        self.failures = counter(
            "coredns_proxy_healthcheck_failures_total", "Failed health checks.", ("proxy_name", "to")
        )
        self.took = registry.histogram(
            "coredns_proxy_request_duration_seconds",
            "Time an upstream took.", ("proxy_name", "to", "rcode"), _TRY_BOUNDS,
        )  # fmt: skip
        kept = [
            counter(f"coredns_proxy_conn_cache_{what}_total", f"Connection {what}.", ("proxy_name", "to", "proto"))
            for what in ("hits", "misses")
        ]

        def refresh() -> None:
            for peer in self.peers:
                labels = ("forward", peer.name, "tcp-tls" if peer.connections.context else "tcp")
                kept[0].values[labels] = peer.connections.hits
                kept[1].values[labels] = peer.connections.misses

        context.refreshes.append(refresh)

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            lower = query.lower
            if not any(wire.is_below(lower, zone) for zone in self._zones):
                return following(query)
            if any(wire.is_below(lower, zone) for zone in self._excepted):
                return following(query)
            return self._ask(query, following)

        return handle

    async def _ask(self, query: Query, following: Handler) -> Response:
        asked, query = query, message.without_cookie(query)
        limit = self.options.max_concurrent
        if limit and self.waiting >= limit:
            self.rejects.add()
            return Response(rcode=wire.REFUSED)
        self.waiting += 1
        try:
            raw = await self._answer(query)
        finally:
            self.waiting -= 1
        if raw[3] & 0xF in self.options.next_rcodes:
            answer = following(asked)
            return answer if isinstance(answer, Response) else await answer
        return Response(raw=raw)

    async def _answer(self, query: Query) -> bytes:
        """The first answer of any upstream; one that fails is followed by the next, until patience ends."""
        failures: list[str] = []
        deadline = self.clock.monotonic() + _PATIENCE
        for peer in self._order():
            if failures and self.clock.monotonic() > deadline:
                break
            try:
                return await self._one(peer, query)
            except WorldError as error:
                failures.append(f"{peer.name}: {error}")
                self._failed(peer)
        raise WorldError("; ".join(failures) or "every upstream is down")

    async def _one(self, peer: _Peer, query: Query) -> bytes:
        self.requests.add(peer.name)
        chosen, began = self.options, self.clock.monotonic()
        tcp = chosen.force_tcp or (query.tcp and not chosen.prefer_udp)
        raw = await exchange(peer.connections, query, tcp=tcp, then_tcp=query.tcp or query.internal)
        peer.fails = 0
        rcode = wire.RCODE_NAMES.get(raw[3] & 0xF, str(raw[3] & 0xF))
        self.took.observe(self.clock.monotonic() - began, "forward", peer.name, rcode)
        return raw

    def _order(self) -> list[_Peer]:
        """The well ones as the policy says; where none is, any, since a health check may be wrong."""
        if self.options.policy == "random":
            order = random.sample(self.peers, len(self.peers))
        elif self.options.policy == "round_robin":
            self.turn = (self.turn + 1) % len(self.peers)
            order = [*self.peers[self.turn :], *self.peers[: self.turn]]
        else:
            order = self.peers
        well = [peer for peer in order if not self._down(peer)]
        if not well:
            self.broken.add()
            return [] if self.options.fail_fast else order
        return well

    def _down(self, peer: _Peer) -> bool:
        return bool(self.options.max_fails) and peer.fails >= self.options.max_fails

    def _failed(self, peer: _Peer) -> None:
        peer.fails += 1
        if not peer.checking:
            peer.checking = True
            self._sick.put_nowait(peer)

    async def run(self) -> None:
        """Asks after those that failed until they answer again."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    group.create_task(self._check(await self._sick.get()))
        finally:
            for peer in self.peers:
                peer.connections.close()

    async def _check(self, peer: _Peer) -> None:
        flags = wire.RD if self.options.health_recursion else 0
        name = wire.name_to_wire(self.options.health_domain)
        raw = struct.pack(">HHHHHH", 0, flags, 1, 0, 0, 0) + name + struct.pack(">HH", wire.NS, wire.IN)
        probe = wire.parse_query(raw)
        while True:
            try:
                await exchange(peer.connections, probe, tcp=self.options.force_tcp)
            except WorldError:
                self.failures.add("forward", peer.name)
                peer.fails += 1
                await self.clock.sleep(self.options.health_interval)
            else:
                peer.fails, peer.checking = 0, False
                return


def _peer(upstream: Upstream, chosen: Options, directive: Directive, context: Context) -> _Peer:
    tls = tls_context(directive, chosen.tls) if upstream.tls else None
    if tls is not None:
        name = upstream.server_name or chosen.server_name
        upstream = msgspec.structs.replace(upstream, server_name=name or upstream.host)
    return _Peer(Connections(upstream, tls, chosen.expire, context.clock))


def setup(directive: Directive, _site: Site, context: Context) -> Forward:
    chosen = options(directive)
    return Forward(chosen, [_peer(each, chosen, directive, context) for each in chosen.upstreams], context)
