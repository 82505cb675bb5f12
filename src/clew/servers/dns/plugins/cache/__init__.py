"""cache: what an upstream answered is kept for its TTL, refusals to exist for theirs.

Answers from memory (zones, hosts) are not cached: they cost no more than a look-up here, and a service's change
shows at once.
"""

import struct
from collections import OrderedDict

import msgspec

from clew.servers.dns import wire
from clew.servers.dns.arguments import number
from clew.servers.dns.chain import Answer, Context, Handler, Passive, Site, then
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response

_CAPACITY = 9984  # entries, as CoreDNS's default
_DENIAL_LIMIT = 1800.0

Key = tuple[bytes, int, int, bool, bool]


class Entry(msgspec.Struct, gc=False):
    raw: bytes
    offsets: list[int]
    stored: float
    expires: float


class Cache(Passive):
    def __init__(self, limit: float, context: Context) -> None:
        self.limit = limit
        self.clock = context.clock
        self.entries: OrderedDict[Key, Entry] = OrderedDict()
        self.hits = context.registry.counter("coredns_cache_hits_total", "Answers from the cache.", ("type",))
        self.misses = context.registry.counter("coredns_cache_misses_total", "Questions not in the cache.")

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            key = (query.lower, query.qtype, query.qclass, query.dnssec_ok, bool(query.udp_size))
            entry = self.entries.get(key)
            now = self.clock.monotonic()
            if entry is not None and entry.expires > now:
                self.hits.add("denial" if entry.raw[3] & 15 else "success")
                return Response(raw=_aged(entry, int(now - entry.stored)))

            def keep(response: Response) -> Response:
                if response.raw:
                    self.misses.add()
                    self._store(key, response.raw)
                return response

            return then(following(query), keep)

        return handle

    def _store(self, key: Key, raw: bytes) -> None:
        rcode, truncated = raw[3] & 15, raw[2] & 2
        if rcode not in {wire.NOERROR, wire.NXDOMAIN} or truncated:
            return
        try:
            offsets, least, answers = wire.ttl_offsets(raw)
        except wire.WireError:
            return
        limit = self.limit if answers else min(self.limit, _DENIAL_LIMIT)
        lifetime = min(least, limit) if offsets else 0
        if lifetime <= 0:
            return
        now = self.clock.monotonic()
        self.entries[key] = Entry(raw, offsets, now, now + lifetime)
        self.entries.move_to_end(key)
        if len(self.entries) > _CAPACITY:
            self.entries.popitem(last=False)


def _aged(entry: Entry, seconds: int) -> bytes:
    if not seconds:
        return entry.raw
    raw = bytearray(entry.raw)
    for at in entry.offsets:
        (ttl,) = struct.unpack_from(">I", raw, at)
        struct.pack_into(">I", raw, at, max(ttl - seconds, 0))
    return bytes(raw)


def setup(directive: Directive, _site: Site, context: Context) -> Cache:
    limit = 3600
    for word in directive.arguments[:1]:
        limit = number(word, 1)
    for inner in directive.block:
        raise inner.name.error(f"cache has no property {inner.name.text!r} yet", "cache [TTL] is what it takes")
    return Cache(float(limit), context)
