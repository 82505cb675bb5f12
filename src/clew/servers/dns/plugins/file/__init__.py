"""file: zones from zone files, read again when their serial changes; see README.md."""

import struct
from pathlib import Path

from clew.servers.dns import wire
from clew.servers.dns.arguments import duration, one_argument, unknown_property, zones
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site, chased
from clew.servers.dns.corefile import Directive
from clew.servers.dns.plugins.file.zonefile import entries
from clew.servers.dns.records import Entry
from clew.servers.dns.wire import Query, Response
from clew.servers.dns.zone import Sets, Zone

_PROPERTIES = ("reload", "fallthrough", "upstream")


class FileZone(Zone):
    """A zone with an SOA of its own, delegations and wildcards (RFC 4592)."""

    def __init__(self, apex: str) -> None:
        super().__init__(apex)
        self._own_soa: bytes = b""

    def load(self, found: list[Entry]) -> None:
        """Exactly these records; ValueError where there is no SOA at the apex or a record stands elsewhere."""
        soas = [body for name, kind, body in found if kind == wire.SOA and name == self.apex]
        if len(soas) != 1:
            raise ValueError(f"{len(soas)} SOA records at {wire.name_to_text(self.apex)}, where one must stand")
        self.put_entries("file", found)
        self._own_soa = soas[0]
        self.serial = struct.unpack(">I", soas[0][-20:-16])[0]

    def soa(self) -> bytes:
        """For negative answers, with the lifetime of RFC 2308 section 3."""
        ttl, minimum = struct.unpack(">I", self._own_soa[4:8])[0], struct.unpack(">I", self._own_soa[-4:])[0]
        return self.apex + self._own_soa[:4] + struct.pack(">I", min(ttl, minimum)) + self._own_soa[8:]

    def find(self, lower: bytes) -> Sets | None:
        sets = super().find(lower)
        if sets is not None or lower == self.apex:
            return sets
        closest = lower[1 + lower[0] :]
        while super().find(closest) is None:
            closest = closest[1 + closest[0] :]
        return super().find(b"\1*" + closest)

    def answer(self, query: Query) -> Response:
        if query.lower == self.apex and query.qtype in {wire.SOA, wire.NS}:
            bodies = (super().find(query.lower) or {}).get(query.qtype, ())
            return Response(
                answers=[wire.TO_QUESTION + body for body in bodies], authoritative=True, lasting=(query.lower,)
            )
        return self._referral(query) or super().answer(query)

    def _referral(self, query: Query) -> Response | None:
        """Where the name stands below a delegation: its name servers and their addresses, without authority."""
        name, cut = query.lower, b""
        while len(name) > len(self.apex):
            if wire.NS in (super().find(name) or {}):
                cut = name
            name = name[1 + name[0] :]
        if not cut or (cut == query.lower and query.qtype == wire.TYPES["DS"]):
            return None
        servers = (super().find(cut) or {})[wire.NS]
        glue = [
            body[10:] + each
            for body in servers
            for kind in (wire.A, wire.AAAA)
            for each in (super(FileZone, self).find(body[10:].lower()) or {}).get(kind, ())
            if self.holds(body[10:].lower())
        ]
        return Response(authority=[cut + body for body in servers], additional=glue, lasting=(cut,))


class File(Plugin):
    def __init__(self, path: Path, apexes: tuple[str, ...], site: Site, context: Context) -> None:
        self.path = path
        self.site = site
        self.context = context
        self.interval = 60.0
        self.fallthrough: tuple[bytes, ...] = ()
        self.zones = [FileZone(apex) for apex in apexes]
        self._apexes = apexes
        self._read = ""

    def load(self) -> None:
        """ValueError says what is wrong with the file, OSError that it cannot be read."""
        text = self.path.read_text(encoding="utf-8")
        made = [
            (zone, list(entries(text, apex, self._include)))
            for zone, apex in zip(self.zones, self._apexes, strict=True)
        ]
        for zone, found in made:
            zone.load(found)
        self._read = text

    def _include(self, name: str) -> str:
        return (self.path.parent / name).read_text(encoding="utf-8")

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            holding = [zone for zone in self.zones if zone.holds(query.lower)]
            if not holding or query.qclass != wire.IN:
                return following(query)
            response = max(holding, key=lambda zone: len(zone.apex)).answer(query)
            if response.rcode == wire.NXDOMAIN and any(wire.is_below(query.lower, each) for each in self.fallthrough):
                return following(query)
            return chased(query, response, lambda inner: self.context.ask(self.site.port, inner))

        return handle

    async def run(self) -> None:
        """Look at the file now and then; a bad one is said so and the old zone stays at work."""
        while self.interval:
            await self.context.clock.sleep(self.interval)
            try:
                if self.path.read_text(encoding="utf-8") != self._read:
                    self.load()
                    self.context.stale(None)
                    self.context.say(f"[INFO] plugin/file: {self.path} is read again")
            except (OSError, ValueError) as wrong:
                self.context.say(f"[ERROR] plugin/file: {self.path}: {wrong}; the old zone stays at work")


def setup(directive: Directive, site: Site, context: Context) -> File:
    if not directive.arguments:
        raise directive.name.error("file needs a zone file's path")
    word, *names = directive.arguments
    plugin = File(Path(word.text), zones(names, site.zones), site, context)
    for inner in directive.block:
        match inner.name.text:
            case "reload":
                plugin.interval = duration(one_argument(inner))
            case "fallthrough":
                plugin.fallthrough = tuple(wire.name_to_wire(zone) for zone in zones(inner.arguments, ("",)))
            case "upstream":
                pass  # aliases are always followed through this server
            case _:
                raise unknown_property(directive, inner, _PROPERTIES)
    try:
        plugin.load()
    except (OSError, ValueError) as wrong:
        raise word.error(f"{word.text}: {wrong}") from None
    return plugin
