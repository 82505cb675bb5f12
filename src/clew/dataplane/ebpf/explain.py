"""From an entry of a map, or from what became of a packet, back to the Service it is there for, and one sentence on it.

Pure. It reads what is in the kernel (rendered or read back) and nothing else: the name of every set of backends is in
the map `names`, and whatever leads to a set has its number.
"""

from collections.abc import Iterator

from clew.base.addresses import with_port
from clew.base.value import Value
from clew.dataplane.ebpf import layout
from clew.dataplane.ebpf.layout import (
    ADDRESSES,
    CLUSTER_IPS,
    ENDPOINTS,
    FRONTENDS,
    LINKS,
    MEMBERS,
    NAMES,
    NODES,
    PODS,
    RANGES,
    WRITTEN,
    Flag,
    Frontend,
)
from clew.dataplane.ebpf.objects import State
from clew.dataplane.ebpf.simulate import Followed


class Explanation(Value):
    origin: str  # "Service default/web:http"; "" where several share the entry
    sentence: str


class Row(Value):
    """One entry in words, as tables of scenarios and `clew trace` show it."""

    map: str
    key: str
    value: str


class Explainer:
    def __init__(self, state: State) -> None:
        self._state = state
        self._names = {
            layout.unpack_number(key): layout.unpack_name(value) for key, value in state.maps.get(NAMES, {}).items()
        }

    def rows(self) -> Iterator[Row]:
        """Every entry that services have, in words and in order; names of sets stand in the others."""
        for name in (CLUSTER_IPS, FRONTENDS, RANGES, ENDPOINTS, MEMBERS):
            for key, value in sorted(self._state.maps.get(name, {}).items()):
                yield Row(name, self._key(name, key), self._value(name, value))

    def entry(self, name: str, key: bytes, value: bytes) -> Explanation:
        """What one entry of a map is there for."""
        if name not in WRITTEN:
            raise ValueError(f"{name} is no map that the agent writes")
        text, said = self._key(name, key), self._value(name, value)
        if name == FRONTENDS:
            frontend = layout.unpack_frontend(value)
            return Explanation(_service(self._origin(frontend)), f"{text} {_role(frontend)}: {said}")
        if name in {ENDPOINTS, MEMBERS, NAMES}:
            origin = self._names.get(layout.unpack_number(key[:4]), "")
            shown = {ENDPOINTS: f"{text} is {said}", MEMBERS: f"{text}: who was sent there may stay"}
            return Explanation(_service(origin), shown.get(name, f"the set {text} is {said}"))
        sentences = {
            CLUSTER_IPS: f"{text} is a cluster address; ports of it that no service has are refused",
            RANGES: f"{text}: this source may use it",
            PODS: f"{text} is where pods are",
            ADDRESSES: f"{text} is an address of the node on which node ports are open",
            LINKS: f"pods are behind {text}",
            NODES: f"what holds for {text}: {said}",
        }
        return Explanation("", sentences[name])

    def packet(self, outcome: Followed) -> Explanation:
        """What decided on a packet."""
        value = self._state.maps.get(FRONTENDS, {}).get(outcome.frontend)
        if value is None:
            return Explanation("", "no service is asked for")
        explained = self.entry(FRONTENDS, outcome.frontend, value)
        told = {"sockets": "the socket was told", "packets": "connection tracking was told", "tables": "tables chose"}
        where = told[outcome.way]
        end = f"{where} {with_port(outcome.destination, outcome.port)}" if outcome.end == "goes on" else outcome.end
        return Explanation(explained.origin, f"{explained.sentence}; {end}")

    def _origin(self, frontend: Frontend) -> str:
        return self._names.get(frontend.cluster) or self._names.get(frontend.local, "")

    def _key(self, name: str, key: bytes) -> str:
        if name == FRONTENDS:
            return _place(key)
        if name == RANGES:
            return f"{_place(key[4 : 4 + len(key) - 4 - layout.ADDRESS])} from {layout.unpack_prefix(key)}"
        if name == ENDPOINTS:
            number, index = layout.unpack_place(key)
            return f"backend {index} of {self._set(number)}"
        if name == MEMBERS:
            return f"{with_port(*layout.unpack_endpoint(key[4:]))} of {self._set(layout.unpack_number(key[:4]))}"
        if name == PODS:
            return layout.unpack_prefix(key)
        if name in {NAMES, NODES, LINKS}:
            number = layout.unpack_number(key)
            shown = {NODES: f"IPv{6 if number else 4}", LINKS: self._state.devices.get(number, f"link {number}")}
            return shown.get(name, str(number))
        return layout.unpack_address(key)

    def _value(self, name: str, value: bytes) -> str:
        if name == FRONTENDS:
            return self._backends(layout.unpack_frontend(value))
        if name == ENDPOINTS:
            return with_port(*layout.unpack_endpoint(value))
        if name == NAMES:
            return layout.unpack_name(value)
        if name == NODES:
            node = layout.unpack_node(value)
            return f"masquerades with {node.address or 'nothing'}"
        return ""

    def _backends(self, frontend: Frontend) -> str:
        if Flag.BY_TABLES in frontend.flags:
            return "left to the tables in nftables"
        if not frontend.clusters and not frontend.locals:
            return (
                "dropped: served on other nodes only" if Flag.SERVED in frontend.flags else "refused: nobody serves it"
            )
        sets = ((frontend.clusters, frontend.cluster), (frontend.locals, frontend.local))
        said = [f"{count} backend{'s' * (count > 1)} of {self._set(number)}" for count, number in sets if count]
        text = ", for clients outside ".join(said)
        text += f"; a client keeps its own for {frontend.affinity} s" if frontend.affinity else ""
        return f"{text}; for some sources only" if Flag.RESTRICTED in frontend.flags else text

    def _set(self, number: int) -> str:
        return self._names.get(number, f"set {number}")


def _place(key: bytes) -> str:
    found = layout.unpack_frontend_key(key)
    where = with_port(found.address, found.port) if found.address else f"port {found.port}"
    return f"{where}/{found.protocol}"


def _role(frontend: Frontend) -> str:
    if Flag.BY_TABLES in frontend.flags:
        return "is an address of a service"
    if Flag.EXTERNAL not in frontend.flags:
        return "is a cluster address"
    return "is an address from outside" + (" for backends on this node" if Flag.LOCAL in frontend.flags else "")


def _service(origin: str) -> str:
    return f"Service {origin.removesuffix(' local')}" if origin else ""
