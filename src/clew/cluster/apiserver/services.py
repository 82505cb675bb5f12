"""Cluster addresses and node ports of Services: who has which, and the next free one.

Rebuilt from the stored Services at each start, so there is no second truth. A claim is taken before a Service is
stored and kept or undone afterwards. Messages are the real server's.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from clew.api.kinds import SERVICE
from clew.api.objects import Object
from clew.cluster.admission import FieldError
from clew.cluster.apiserver import service_fields as fields
from clew.cluster.apiserver.address_ranges import AddressRanges, Range
from clew.cluster.apiserver.errors import ApiRefusal, internal, invalid
from clew.cluster.apiserver.options import ApiServerOptions

inherit = fields.inherit
_TAKEN = "provided port is already allocated"
Slot = tuple[str, str | int]  # ("IP", address) or ("port", node port): a port is one for all protocols


class Pools:
    """Every address and port of the cluster's Services. On one loop; nothing awaits."""

    def __init__(self, options: ApiServerOptions, services: Iterable[Object], reserved: Iterable[Object] = ()) -> None:
        self.ranges = AddressRanges(options.service_cidrs)
        self.families = options.ip_families
        self.port_range = options.node_port_range
        self.held: dict[Slot, str] = {}  # to the uid of the Service
        low, high = options.node_port_range
        size = high - low + 1
        self._ports = Range(size, min(max(16, size // 32), 128) if size > 64 else 0)
        for address in reserved:
            self.held["IP", address["metadata"]["name"]] = _owner(address)
        for service in services:
            self.held.update(dict.fromkeys(slots_of(service), _owner(service)))

    def release(self, service: Object) -> None:
        """A Service that is gone."""
        owner = _owner(service)
        for slot in slots_of(service):
            if self.held.get(slot) == owner:
                del self.held[slot]

    def reserve(self, address: Object) -> "Claim":
        """An IPAddress object takes its address, unless somebody has it."""
        claim = Claim(self, address, None)
        claim.take_own(address["metadata"]["name"])
        return claim

    def give_back(self, address: Object) -> None:
        """An IPAddress object that is gone."""
        slot = ("IP", address["metadata"]["name"])
        if self.held.get(slot) == _owner(address):
            del self.held[slot]

    def claim(self, new: Object, old: Object | None) -> "Claim":
        """Complete the spec of a Service; 422 where what it asks for cannot be had, and then nothing is taken."""
        spec, before = new["spec"], old["spec"] if old else None
        fields.join_addresses(spec, before)
        errors = fields.complete_families(spec, before, self.families)
        if errors:
            raise invalid(SERVICE, new["metadata"]["name"], errors)
        claim = Claim(self, new, old)
        try:
            claim.addresses()
            claim.ports()
        except ApiRefusal:
            claim.undo()
            raise
        return claim

    def free_address(self, family: str) -> str | None:
        return next((ip for ip in self.ranges.candidates(family) if ("IP", ip) not in self.held), None)

    def free_port(self) -> int | None:
        for index in self._ports.candidates():
            port = self.port_range[0] + index
            if ("port", port) not in self.held:
                return port
        return None


class Claim:
    """What one write of a Service takes from the pools."""

    def __init__(self, pools: Pools, new: Object, old: Object | None) -> None:
        self._pools = pools
        self._service = new
        self._spec = new.get("spec") or {}
        self._owner = _owner(new)
        self._before = set(slots_of(old)) if old else set()
        self._is_new = old is None
        self._taken: list[Slot] = []

    def keep(self) -> None:
        for slot in self._before - set(slots_of(self._service)):
            if self._pools.held.get(slot) == self._owner:
                del self._pools.held[slot]

    def undo(self) -> None:
        for slot in self._taken:
            self._pools.held.pop(slot, None)
        self._taken.clear()

    def _take(self, slot: Slot) -> bool:
        """False where somebody else has it."""
        holder = self._pools.held.get(slot)
        if holder is None:
            self._pools.held[slot] = self._owner
            self._taken.append(slot)
            return True
        return holder == self._owner

    def take_own(self, address: str) -> None:
        self._take(("IP", address))

    def addresses(self) -> None:
        """Cluster addresses, one a family."""
        spec = self._spec
        if not fields.has_addresses(spec) or fields.is_headless(spec):
            return
        asked = fields.addresses(spec)
        ips = [
            self._named(family, asked[at]) if at < len(asked) else self._any(family)
            for at, family in enumerate(spec["ipFamilies"])
        ]
        spec["clusterIP"], spec["clusterIPs"] = ips[0], ips

    def _any(self, family: str) -> str:
        ip = self._pools.free_address(family)
        if ip is None:
            raise internal(f"failed to allocate a serviceIP: range is full: {self._pools.ranges.said(family)}")
        self._take(("IP", ip))
        return ip

    def _named(self, family: str, asked: str) -> str:
        ip = ip_address(asked)
        why = ""
        if ("IP", str(ip)) not in self._before:
            if f"IPv{ip.version}" != family or not self._pools.ranges.hold(ip):
                valid = self._pools.ranges.said(family)
                why = f"the provided IP ({asked}) is not in the valid range. The range of valid IPs is {valid}"
            elif not self._take(("IP", str(ip))):
                why = "provided IP is already allocated"
        if why:
            text = f"failed to allocate IP {asked}: {why}"
            self._refuse("spec.clusterIPs", self._spec.get("clusterIPs") or [asked], text)
        return str(ip)

    def ports(self) -> None:
        """Node ports, one number for all protocols of the same port, and the health check's."""
        spec = self._spec
        if fields.has_node_ports(spec):
            self._node_ports(spec.get("ports") or [])
        if not fields.has_health_port(spec):
            return
        checked = spec.get("healthCheckNodePort")
        if not checked:
            spec["healthCheckNodePort"] = self._any_port()
        elif any(port.get("nodePort") == checked for port in spec.get("ports") or ()):
            self._refuse("spec.healthCheckNodePort", checked, _TAKEN)
        else:
            self._named_port("spec.healthCheckNodePort", checked)

    def _node_ports(self, ports: list[Object]) -> None:
        for at, port in enumerate(ports):
            if port.get("nodePort"):
                self._named_port(f"spec.ports[{at}].nodePort", port["nodePort"])
        if not fields.wants_node_ports(self._spec):
            return
        for port in ports:
            if not port.get("nodePort"):
                port["nodePort"] = (self._is_new and _shared_port(port, ports)) or self._any_port()

    def _any_port(self) -> int:
        port = self._pools.free_port()
        if port is None:
            raise internal("failed to allocate a nodePort: range is full")
        self._take(("port", port))
        return port

    def _named_port(self, field: str, port: int) -> None:
        low, high = self._pools.port_range
        if ("port", port) in self._before:
            return
        if not low <= port <= high:
            why = f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
            self._refuse(field, port, why)
        if not self._take(("port", port)):
            self._refuse(field, port, _TAKEN)

    def _refuse(self, field: str, value: object, why: str) -> None:
        raise invalid(SERVICE, self._service["metadata"]["name"], [FieldError(field, "FieldValueInvalid", value, why)])


def _shared_port(port: Object, ports: list[Object]) -> int | None:
    """The node port of the same port in another protocol, which both can have; real servers share in new Services."""
    mine = {each.get("nodePort") for each in ports if each.get("protocol") == port.get("protocol")}
    others = (each.get("nodePort") for each in ports if each["port"] == port["port"])
    return next((number for number in others if number not in {None, 0, *mine}), None)


def slots_of(service: Object) -> list[Slot]:
    """What a Service holds of the pools."""
    spec = service.get("spec") or {}
    held: list[Slot] = [("IP", str(ip_address(ip))) for ip in fields.addresses(spec)]
    held += [("port", port) for port in fields.node_ports(spec)]
    return held


def _owner(service: Object) -> str:
    return str(service["metadata"]["uid"])
