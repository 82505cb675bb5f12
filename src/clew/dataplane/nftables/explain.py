"""From a kernel object, or from what became of a packet, back to the Service it is there for, and one sentence on it.

Pure. It reads what is in the kernel (rendered or read back) and nothing else: the origin of a set of backends travels
in the comment of every element that leads to it, other elements are found by its number.
"""

from collections.abc import Iterable

from clew.base.addresses import with_port
from clew.base.value import Value
from clew.dataplane.nftables import layout
from clew.dataplane.nftables.layout import SETS_BY_NAME, STICKY, WAY_BITS, WAY_MASK
from clew.dataplane.nftables.objects import IpWord, Table
from clew.dataplane.nftables.programme import NAMED, RANGES
from clew.dataplane.nftables.simulate import Elements, Outcome


class Explanation(Value):
    origin: str  # "Service default/web:http"; "" where several share the object
    sentence: str


class ElementRow(Value):
    """One element in words, as tables of scenarios and `clew trace` show it."""

    set: str
    key: str
    value: str


ROLES = {
    "service-ips": "is a cluster address",
    "external-ips": "is an address from outside",
    "local-external-ips": "is an address from outside for backends on this node; clients inside use",
    "local-endpoints": "is an address from outside for backends on this node; clients outside use",
    "node-ports": "is a port on every node",
    "local-node-ports": "is a port on every node for backends on that node; clients inside use",
    "local-node-port-endpoints": "is a port on every node for backends on that node; clients outside use",
}
FATES = {
    "refused-ips": "is refused: nobody serves it",
    "dropped-ips": "is dropped: it is served on other nodes only",
    "refused-node-ports": "is refused: nobody serves it",
    "dropped-node-ports": "is dropped: it is served on other nodes only",
    "restricted": "may be used by some sources only",
}


class Explainer:
    def __init__(self, ip: IpWord, elements: Elements) -> None:
        self._ip: IpWord = ip
        self._elements = elements
        self._names: dict[int, str] = {}
        for name in NAMED:
            for value in elements.get(name, {}).values():
                self._names[layout.unpack_number(value) >> WAY_BITS] = value[4:].decode(errors="replace")

    def rows(self) -> list[ElementRow]:
        """Every element, in words and in order."""
        return [
            ElementRow(name, self._key(name, key), self._value(name, value))
            for name in SETS_BY_NAME
            for key, value in sorted(self._elements.get(name, {}).items())
        ]

    def element(self, name: str, key: bytes, value: bytes) -> Explanation:
        """What one element of a set or map is there for."""
        text = self._key(name, key)
        if name in ROLES:
            origin = value[4:].decode(errors="replace")
            return Explanation(_service(origin), f"{text} {ROLES[name]}: {self._value(name, value)}")
        if name in FATES:
            return Explanation("", f"{text} {FATES[name]}")
        if name == "source-ranges":
            return Explanation("", f"{text}: this source may use it")
        if name == RANGES:
            return Explanation("", f"{text} are cluster addresses; those that no service has are dropped")
        if name == "cluster-ips":
            return Explanation("", f"{text} is a cluster address; ports of it that no service has are refused")
        if name == "hairpin":
            pod = text.split()[0]
            return Explanation("", f"{pod} reaches itself through a service, with the node's address as source")
        number = layout.unpack_number(key) >> WAY_BITS
        origin = self._names.get(number, "")
        return Explanation(_service(origin), f"{text} is {self._value(name, value)}")

    def packet(self, table: Table, outcome: Outcome) -> list[str]:
        """The rules that decided on a packet, in order, as nft prints them."""
        return [f"{chain}: {table.chain(chain).rules[place]}" for chain, place in outcome.rules]

    def _key(self, name: str, key: bytes) -> str:
        where = SETS_BY_NAME[name]
        if where.interval:
            half = len(key) // 2
            first, last = (layout.unpack(where.key, part, self._ip) for part in (key[:half], key[half:]))
            if name == RANGES:
                return f"{first[0]} to {last[0]}"
            return f"{_place(first[:3])} from {first[3]} to {last[3]}"
        items = layout.unpack(where.key, key, self._ip)
        if where.key in {layout.WHERE, layout.HERE}:
            return _place(items)
        if name in {"endpoints", "sticky-choices"}:
            number, index = items
            return f"backend {index} of {self._set(int(number))}"
        if name == "slots":
            return f"slot {int(items[0]) & WAY_MASK} of {self._set(int(items[0]))}"
        return " ".join(map(str, items))

    def _value(self, name: str, value: bytes) -> str:
        where = SETS_BY_NAME[name]
        if not where.data:
            return ""
        items = layout.unpack(where.data, value, self._ip)
        if name in {"endpoints", "slots"}:
            return with_port(str(items[0]), int(items[1]))
        number = int(items[0])
        if name == "sticky-choices":
            return f"slot {number & WAY_MASK}"
        way = number & WAY_MASK
        count = "backends by affinity" if way >= STICKY else "1 backend" if way == 1 else f"{way} backends"
        return f"{count} of {self._set(number)}"

    def _set(self, number: int) -> str:
        number >>= WAY_BITS
        return self._names.get(number, f"set {number}")


def _place(items: Iterable[layout.Item]) -> str:
    parts = [str(item) for item in items]
    protocol, port = parts[-2:]
    return f"{with_port(parts[0], int(port))}/{protocol}" if len(parts) == 3 else f"port {port}/{protocol}"


def _service(origin: str) -> str:
    return f"Service {origin.removesuffix(' local')}" if origin else ""
