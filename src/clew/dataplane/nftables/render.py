"""From load balancing to elements: what one service port puts into the table's sets and maps.

Pure but for the numbers that it draws. Called by dataplane/nftables/programme, once per service port that changed.
"""

from binascii import crc32
from typing import Literal

from clew.base.value import Value
from clew.dataplane.nftables import layout
from clew.dataplane.nftables.layout import STICKY, WAY_BITS, WAY_MASK
from clew.dataplane.nftables.rules import way_chain
from clew.ir.balancing import Backend, Balancer, Frontend
from clew.reconcile.numbers import Numbers

Elements = dict[str, dict[bytes, bytes]]  # by set: key and value, as kernel.nft has them
Scope = Literal["cluster", "local"]


class SetName(Value):
    """A set of backends, as comments name it: `default/web:http`, or `default/web:http local`."""

    origin: str
    scope: Scope

    def __str__(self) -> str:
        return self.origin if self.scope == "cluster" else f"{self.origin} local"


class Contribution(Value):
    """What one balancer puts into the table: elements, and the names and ways that it needs numbers for."""

    elements: Elements
    sets: tuple[str, ...]
    ways: tuple[str, ...]


def contribution(balancer: Balancer, sets: Numbers, ways: Numbers) -> Contribution:
    """The elements of one service port in its family; numbers are drawn where its sets and ways have none yet."""
    return _Port(balancer, sets, ways).render()


class _Port:
    def __init__(self, balancer: Balancer, sets: Numbers, ways: Numbers) -> None:
        self._balancer = balancer
        self._sets, self._way_numbers = sets, ways
        self._elements: Elements = {}
        self._used: dict[Scope, tuple[str, str, bytes]] = {}  # scope: name of the set, of its way, handle with comment

    def render(self) -> Contribution:
        for frontend in self._balancer.frontends:
            if frontend.scope == "internal":
                self._internal(frontend)
            else:
                self._external(frontend)
        used = self._used.values()
        return Contribution(self._elements, tuple(name for name, _, _ in used), tuple(way for _, way, _ in used if way))

    def _put(self, name: str, key: bytes, value: bytes = b"") -> None:
        self._elements.setdefault(name, {})[key] = value

    def _internal(self, frontend: Frontend) -> None:
        balancer = self._balancer
        self._put("cluster-ips", layout.pack_address(frontend.address))
        key = layout.pack_where(frontend.address, frontend.protocol, frontend.port)
        scope: Scope = "cluster" if frontend.policy == "Cluster" else "local"
        if balancer.cluster if scope == "cluster" else balancer.local:
            self._put("service-ips", key, self._handle(scope))
        elif balancer.any_backend:
            self._put("dropped-ips", key)
        # else refused like every other port that the cluster address does not have

    def _external(self, frontend: Frontend) -> None:
        balancer = self._balancer
        if frontend.address:
            key = layout.pack_where(frontend.address, frontend.protocol, frontend.port)
            names = ("external-ips", "local-external-ips", "local-endpoints", "dropped-ips", "refused-ips")
            self._restrict(frontend, key)
        else:
            key = layout.pack_here(frontend.protocol, frontend.port)
            names = (
                "node-ports", "local-node-ports", "local-node-port-endpoints", "dropped-node-ports",
                "refused-node-ports",
            )  # fmt: skip
        to_cluster, to_local, endpoints_here, dropped, refused = names
        if not balancer.any_backend:
            self._put(refused, key)
        elif frontend.policy == "Cluster":
            self._put(to_cluster, key, self._handle("cluster"))
        else:
            if balancer.cluster:
                self._put(to_local, key, self._handle("cluster"))
            if balancer.local:
                self._put(endpoints_here, key, self._handle("local"))
            else:
                self._put(dropped, key)

    def _restrict(self, frontend: Frontend, key: bytes) -> None:
        if frontend.sources is None:
            return
        self._put("restricted", key)
        for prefix in frontend.sources:
            self._put("source-ranges", layout.pack_source_range(key, prefix))

    def _handle(self, scope: Scope) -> bytes:
        """Number and way of a set, with its name as the comment; the set's own elements, the first time."""
        if scope in self._used:
            return self._used[scope][2]
        balancer = self._balancer
        backends = (balancer.cluster if scope == "cluster" else balancer.local)[:WAY_MASK]
        name = str(SetName(balancer.origin, scope))
        number = self._sets.of(name) << WAY_BITS
        way_name = way_chain(len(backends), balancer.affinity)
        plain = not balancer.affinity and len(backends) < STICKY
        way = len(backends) if plain else self._way_numbers.of(way_name)
        if balancer.affinity:
            self._sticky(number, backends)
        else:
            self._plain(number, backends)
        handle = layout.pack_number(number | way) + name.encode()
        self._used[scope] = name, way_name, handle
        return handle

    def _plain(self, number: int, backends: tuple[Backend, ...]) -> None:
        head = layout.pack_number(number)
        for index, backend in enumerate(backends):
            self._put("endpoints", head + layout.pack_number(index), layout.pack_backend(backend.address, backend.port))
            self._hairpin(backend)

    def _sticky(self, number: int, backends: tuple[Backend, ...]) -> None:
        """Slots are told by a hash of the backend, so that a backend keeps its slot when others come and go."""
        taken: set[int] = set()
        head = layout.pack_number(number)
        for index, backend in enumerate(backends):
            packed = layout.pack_backend(backend.address, backend.port)
            slot = crc32(packed) & WAY_MASK
            while slot in taken:
                slot = (slot + 1) & WAY_MASK
            taken.add(slot)
            self._put("sticky-choices", head + layout.pack_number(index), layout.pack_number(number | slot))
            self._put("slots", layout.pack_number(number | slot), packed)
            self._hairpin(backend)

    def _hairpin(self, backend: Backend) -> None:
        if backend.place != "elsewhere":
            self._put("hairpin", layout.pack_address(backend.address) * 2)
