"""log: one line a query; see README.md."""

import re

from clew.servers.dns import wire
from clew.servers.dns.arguments import choice, some_arguments, unknown_property, zones
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site, then
from clew.servers.dns.corefile import Directive
from clew.servers.dns.encode import encode
from clew.servers.dns.wire import Query, Response

_COMMON = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" '
    "{rcode} {>rflags} {rsize} {duration}"
)
_FORMATS = {"{common}": _COMMON, "{combined}": _COMMON + ' "{>opcode}"'}
_FLAGS = ((wire.QR, "qr"), (wire.AA, "aa"), (wire.TC, "tc"), (wire.RD, "rd"), (wire.RA, "ra"), (wire.CD, "cd"))
_CLASSES = {wire.IN: "IN", wire.CHAOS: "CH", 4: "HS"}


def response_class(rcode: int, *, empty: bool) -> str:
    if rcode not in {wire.NOERROR, wire.NXDOMAIN}:
        return "error"
    return "denial" if rcode == wire.NXDOMAIN or empty else "success"


class Log(Plugin):
    every_query = True

    def __init__(self, names: tuple[str, ...], form: str, classes: frozenset[str], context: Context) -> None:
        self.zones = [wire.name_to_wire(name) for name in names]
        self.form = form
        self.classes = classes
        self.context = context

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            if not any(wire.is_below(query.lower, zone) for zone in self.zones):
                return following(query)
            started = self.context.clock.monotonic()

            def write(response: Response) -> Response:
                if response is not wire.SILENCE:
                    self._write(query, response, self.context.clock.monotonic() - started)
                return response

            return then(following(query), write)

        return handle

    def _write(self, query: Query, response: Response, took: float) -> None:
        raw = encode(query, response)
        flags, rcode = int.from_bytes(raw[2:4]), response.rcode if not response.raw else raw[3] & 0xF
        sort = response_class(rcode, empty=raw[6:8] == b"\0\0")
        if "all" not in self.classes and sort not in self.classes:
            return
        values = {
            "remote": f"[{query.client}]" if ":" in query.client else query.client, "port": str(query.client_port),
            ">id": str(query.id), "type": wire.TYPE_NAMES.get(query.qtype, f"TYPE{query.qtype}"),
            "class": _CLASSES.get(query.qclass, str(query.qclass)), "name": wire.name_to_text(query.lower),
            "proto": "tcp" if query.tcp else "udp", "size": str(len(query.raw)),
            ">do": str(query.dnssec_ok).lower(), ">bufsize": str(query.udp_size or 512),
            "rcode": wire.RCODE_NAMES.get(rcode, str(rcode)), "rsize": str(len(raw)), "duration": f"{took:.9f}s",
            ">rflags": ",".join(name for bit, name in _FLAGS if flags & bit), ">opcode": "0",
        }  # fmt: skip
        self.context.say("[INFO] " + re.sub(r"\{([^}]+)\}", lambda found: values.get(found.group(1), "-"), self.form))


def setup(directive: Directive, site: Site, context: Context) -> Log:
    words = list(directive.arguments)
    form = _COMMON
    if words and "{" in words[-1].text:
        form = words.pop().text
        for name, text in _FORMATS.items():
            form = form.replace(name, text)
    classes: set[str] = set()
    for inner in directive.block:
        if inner.name.text != "class":
            raise unknown_property(directive, inner, ("class",))
        classes |= {choice(word, "success", "denial", "error", "all") for word in some_arguments(inner)}
    return Log(zones(words, site.zones), form, frozenset(classes or {"all"}), context)
