"""cache: what others answered is kept for its TTL, refusals to exist for theirs; see README.md.

Answers from memory (`Response.lasting`) are not kept: they cost no more than a look-up here, and a service's change
shows at once.
"""

import asyncio
from collections.abc import Callable

import msgspec

from clew.base.errors import WorldError
from clew.servers.dns import wire
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site, then
from clew.servers.dns.corefile import Directive
from clew.servers.dns.encode import edns_reply, encode
from clew.servers.dns.plugins.cache.options import Options, options
from clew.servers.dns.plugins.cache.store import Entry, Key, Shelf, aged, read
from clew.servers.dns.wire import Query, Response, WireError

_CLIENT_SUBNET = 8  # RFC 7871: the answer is for one network


class Cache(Plugin):
    def __init__(self, chosen: Options, site: Site, context: Context) -> None:
        self.options = chosen
        self.clock = context.clock
        self.shelves = {False: Shelf(chosen.success), True: Shelf(chosen.denial)}
        self._zones = [wire.name_to_wire(zone) for zone in chosen.zones]
        self._without = {False: chosen.no_success, True: chosen.no_denial}
        self._refresh: asyncio.Queue[tuple[Key, Query]] = asyncio.Queue()
        self._following: Handler | None = None
        self._metrics(site, context)

    def _metrics(self, site: Site, context: Context) -> None:
        where = (site.origin, ",".join(f"{zone}." for zone in self.options.zones), "")
        labels = ("server", "zones", "view")
        registry = context.registry

        def count(name: str, text: str, *extra: str) -> Callable[..., None]:
            counter = registry.counter(f"coredns_cache_{name}_total", text, (*labels, *extra))
            return lambda *values, by=1: counter.add(*where, *values, by=by)

        self.requests = count("requests", "Questions that came to the cache.")
        self.hits = count("hits", "Answers from the cache.", "type")
        self.misses = count("misses", "Questions not in the cache.")
        self.prefetches = count("prefetch", "Answers fetched before they expired.")
        self.stales = count("served_stale", "Expired answers given.")
        self.drops = count("drops", "Answers that did not fit their question.")
        entries = registry.gauge("coredns_cache_entries", "Answers kept.", (*labels, "type"))
        evictions = registry.counter("coredns_cache_evictions_total", "Answers that made room.", (*labels, "type"))

        def refresh() -> None:
            for denies, shelf in self.shelves.items():
                sort = "denial" if denies else "success"
                entries.set(len(shelf.entries), *where, sort)
                evictions.values[*where, sort] = shelf.evictions

        context.refreshes.append(refresh)

    def wrap(self, following: Handler) -> Handler:
        self._following = following

        def handle(query: Query) -> Answer:
            if query.qclass != wire.IN or not any(wire.is_below(query.lower, zone) for zone in self._zones):
                return following(query)
            key = (query.lower, query.qtype, query.dnssec_ok, bool(query.flags & wire.CD))
            entry, denies = self._find(key)
            now = self.clock.monotonic()
            if entry is not None and now < entry.expires:
                return self._hit(key, entry, query, denies=denies)
            if entry is not None and now < entry.expires + self.options.stale:
                return self._stale(key, entry, query)
            return then(following(query), lambda response: self._keep(key, query, response))

        return handle

    def _find(self, key: Key) -> tuple[Entry | None, bool]:
        for denies, shelf in self.shelves.items():
            entry = shelf.entries.get(key)
            if entry is not None:
                return entry, denies
        return None, False

    def _hit(self, key: Key, entry: Entry, query: Query, *, denies: bool) -> Response:
        now = self.clock.monotonic()
        self.requests()
        self.hits("denial" if denies else "success")
        if self.options.prefetch:
            self._maybe_prefetch(key, entry, query, now)
        seconds = 0 if self.options.keep_ttl else int(now - entry.stored)
        return _given(aged(entry, seconds), query)

    def _maybe_prefetch(self, key: Key, entry: Entry, query: Query, now: float) -> None:
        if now - entry.first_hit > self.options.prefetch_within:
            entry.hits, entry.first_hit = 0, now
        entry.hits += 1
        left = (entry.expires - now) * 100 / entry.lifetime
        if entry.hits >= self.options.prefetch and left <= self.options.prefetch_left and not entry.asked_again:
            entry.asked_again = True
            self.prefetches()
            self._refresh.put_nowait((key, query))

    def _stale(self, key: Key, entry: Entry, query: Query) -> Answer:
        def old() -> Response:
            self.stales()
            return _given(aged(entry, 0, ttl=0), query)

        if self.options.stale_verify:
            return self._verified(key, query, old)
        if not entry.asked_again:
            entry.asked_again = True
            self._refresh.put_nowait((key, query))
        return old()

    async def _verified(self, key: Key, query: Query, old: Callable[[], Response]) -> Response:
        try:
            response = await self._ask(query)
        except WorldError:
            return old()
        if _rcode(response) == wire.SERVFAIL:
            return old()
        return self._keep(key, query, response)

    async def _ask(self, query: Query) -> Response:
        assert self._following is not None  # noqa: S101 - wrapped before anything is kept
        answer = self._following(query)
        return answer if isinstance(answer, Response) else await answer

    async def run(self) -> None:
        """Asks again for what is about to expire, or did."""
        async with asyncio.TaskGroup() as group:
            while True:
                key, query = await self._refresh.get()
                group.create_task(self._again(key, msgspec.structs.replace(query, internal=True)))

    async def _again(self, key: Key, query: Query) -> None:
        try:
            response = await self._ask(query)
        except WorldError:
            response = Response(rcode=wire.SERVFAIL)
        if _rcode(response) == wire.SERVFAIL:
            entry, _ = self._find(key)
            if entry is not None:
                entry.asked_again = False  # the next asker tries again
            return
        self._keep(key, query, response)

    def _keep(self, key: Key, query: Query, response: Response) -> Response:
        if response.lasting is not None or response.private:
            return response
        self.requests()
        self.misses()
        if any(code == _CLIENT_SUBNET for code, _ in wire.options_of(query.options)):
            return response
        raw = response.raw or encode(msgspec.structs.replace(query, tcp=True, udp_size=0), response)
        try:
            self._store(key, raw)
        except WireError:
            self.drops()
        return response

    def _store(self, key: Key, raw: bytes) -> None:
        rcode = raw[3] & 0xF
        if int.from_bytes(raw[2:4]) & wire.TC or rcode not in {wire.NOERROR, wire.NXDOMAIN, wire.SERVFAIL}:
            return
        found = read(raw)
        failed = rcode == wire.SERVFAIL
        shelf = self.shelves[found.denies or failed]
        if any(wire.is_below(key[0], wire.name_to_wire(zone)) for zone in self._without[found.denies or failed]):
            return
        lifetime = self.options.servfail if failed else min(max(found.least, shelf.kept.least), shelf.kept.most)
        if lifetime <= 0 or not (found.offsets or failed):
            return
        now = self.clock.monotonic()
        self.shelves[not (found.denies or failed)].entries.pop(key, None)
        shelf.put(key, Entry(found.raw, found.offsets, now, now + lifetime, lifetime))


def _rcode(response: Response) -> int:
    return response.raw[3] & 0xF if response.raw else response.rcode


def _given(raw: bytearray, query: Query) -> Response:
    """A kept message for this asker, with an OPT where it sent one."""
    raw[2] &= ~0x04 & 0xFF  # not authoritative: it is a memory
    if query.udp_size:
        raw[10:12] = (int.from_bytes(raw[10:12]) + 1).to_bytes(2)
        raw += edns_reply(query, 0)
    return Response(raw=bytes(raw))


def setup(directive: Directive, site: Site, context: Context) -> Cache:
    return Cache(options(directive, site.zones), site, context)
