"""hosts: names from a hosts file and from lines in the block itself; see README.md."""

from ipaddress import ip_address
from pathlib import Path

from clew.base.value import Value
from clew.ir.names import Record, RecordType
from clew.servers.dns import wire
from clew.servers.dns.arguments import duration, no_arguments, number, one_argument, zones
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response
from clew.servers.dns.zone import Zone


class Options(Value):
    path: str = ""  # "": no file
    ttl: int = 3600
    reverse: bool = True
    reload: float = 5.0  # seconds between two looks at the file; 0: never again
    zones: tuple[str, ...] = ("",)
    fallthrough: tuple[str, ...] | None = None


class Hosts(Plugin):
    """Answers A, AAAA and PTR; a name that it has answers NODATA for other types."""

    def __init__(self, zone: Zone, options: Options, context: Context | None = None) -> None:
        self.zone = zone
        self.options = options
        self.context = context
        self._zones = [wire.name_to_wire(name) for name in options.zones]
        self._falls = [wire.name_to_wire(name) for name in options.fallthrough or ()]
        self._read: str | None = None

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            lower = query.lower
            if query.qclass != wire.IN or not any(wire.is_below(lower, zone) for zone in self._zones):
                return following(query)
            sets = self.zone.find(lower)
            if sets:
                answers = [wire.TO_QUESTION + body for body in sets.get(query.qtype, ())]
                return Response(answers=answers, authoritative=True, lasting=(lower,))
            if any(wire.is_below(lower, zone) for zone in self._falls):
                return following(query)
            return Response(rcode=wire.NXDOMAIN, authoritative=True, lasting=(lower,))

        return handle

    def load(self) -> bool:
        """Read the file where it changed; a missing one has no names. True where something changed."""
        try:
            text = Path(self.options.path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        if text == self._read:
            return False
        self._read = text
        self.zone.put("file", [record for line in text.splitlines() for record in _line(line, self.options)])
        return True

    async def run(self) -> None:
        """Look at the file now and then."""
        while self.context and self.options.path and self.options.reload:
            await self.context.clock.sleep(self.options.reload)
            if self.load():
                self.context.stale(None)


def _line(line: str, options: Options) -> list[Record]:
    """One line of a hosts file; what is none is left out, as every reader of such files does."""
    address, *names = line.partition("#")[0].split() or [""]
    try:
        return host_records(address.partition("%")[0], tuple(names), reverse=options.reverse) if names else []
    except ValueError:
        return []


def host_records(address: str, names: tuple[str, ...], *, reverse: bool = True) -> list[Record]:
    """A or AAAA for each name, and a PTR to each; ValueError for what is no address or name."""
    ip = ip_address(address)
    kind: RecordType = "A" if ip.version == 4 else "AAAA"
    forward = [Record(name, kind, str(ip)) for name in names]
    for name in names:
        wire.name_to_wire(name)
    return [*forward, *(Record(ip.reverse_pointer, "PTR", name) for name in names if reverse)]


def setup(directive: Directive, site: Site, context: Context) -> Hosts:
    words = list(directive.arguments)
    fields: dict[str, object] = {"path": "" if not words and directive.block else "/etc/hosts"}
    if words and words[0].text.startswith(("/", ".")):
        fields["path"] = words.pop(0).text
    elif words and directive.block:
        fields["path"] = ""
    fields["zones"] = zones(words, site.zones)
    lines: list[Directive] = []
    for inner in directive.block:
        match inner.name.text:
            case "fallthrough":
                fields["fallthrough"] = zones(inner.arguments, ("",))
            case "ttl":
                fields["ttl"] = number(one_argument(inner), 1)
            case "reload":
                fields["reload"] = duration(one_argument(inner))
            case "no_reverse":
                no_arguments(inner)
                fields["reverse"] = False
            case _:
                lines.append(inner)
    options = Options(**fields)  # type: ignore[arg-type]  # each field checked above
    plugin = Hosts(Zone("", options.ttl), options, context)
    for at, inner in enumerate(lines):
        plugin.zone.put(at, _inline(inner, options))
    if options.path:
        plugin.load()
    return plugin


def _inline(inner: Directive, options: Options) -> list[Record]:
    names = tuple(word.text for word in inner.arguments)
    try:
        records = host_records(inner.name.text, names, reverse=options.reverse)
    except ValueError:
        records = []
    if not records:
        raise inner.name.error("expected ADDRESS NAME...", "e.g. 203.0.113.1 www.example")
    return records
