"""Cluster addresses and node ports of Services: who has which, and the next free one.

Rebuilt from the stored Services at each start, so there is no second truth. Messages are the real server's.
"""

import secrets
from ipaddress import ip_address, ip_network

from clew.api.kinds import SERVICE
from clew.api.objects import Object
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.errors import ApiRefusal, invalid
from clew.cluster.apiserver.options import ApiServerOptions

_WITH_NODE_PORTS = {"NodePort", "LoadBalancer"}


class AddressPool:
    """The cluster addresses of one family."""

    def __init__(self, cidr: str) -> None:
        self.network = ip_network(cidr)
        self.family = f"IPv{self.network.version}"
        self.used: dict[str, str] = {}
        size = self.network.num_addresses
        self._first = int(self.network.network_address) + 1
        self._count = min(size - 2 if self.network.version == 4 else size - 1, 1 << 20)
        # KEP-3070: the lower part of the range is left to those who ask for an address
        self._low = min(max(16, size // 16), 256) if size > 64 else 0

    def take(self, owner: str) -> str:
        span = self._count - self._low
        start = secrets.randbelow(span)
        for base, length in ((self._low, span), (0, self._low)):
            for step in range(length):
                at = base + (start + step) % length
                ip = str(ip_address(self._first + at))
                if ip not in self.used:
                    self.used[ip] = owner
                    return ip
        raise LookupError(f"range is full: {self.network}")


class Allocators:
    """Every pool, and what each Service holds of it."""

    def __init__(self, options: ApiServerOptions) -> None:
        self.pools = {pool.family: pool for pool in map(AddressPool, options.service_cidrs)}
        self.families = options.ip_families
        self.port_range = options.node_port_range
        self.ports: dict[tuple[str, int], str] = {}

    def restore(self, service: Object) -> None:
        """Note what a stored Service holds."""
        owner = _owner(service)
        for ip in _addresses(service["spec"]):
            self._pool_of(ip).used[ip] = owner
        for slot in _node_ports(service["spec"]):
            self.ports[slot] = owner

    def release(self, service: Object) -> None:
        owner = _owner(service)
        for ip in _addresses(service["spec"]):
            pool = self._pool_of(ip)
            if pool.used.get(ip) == owner:
                del pool.used[ip]
        for slot in _node_ports(service["spec"]):
            if self.ports.get(slot) == owner:
                del self.ports[slot]

    def _pool_of(self, ip: str) -> AddressPool:
        return self.pools.get(f"IPv{ip_address(ip).version}") or next(iter(self.pools.values()))

    def inherit(self, new: Object, old: Object) -> None:
        """An update that does not name addresses or ports keeps those it has, where the type still has any."""
        spec, before = new["spec"], old["spec"]
        if spec.get("type", "ClusterIP") == "ExternalName":
            return
        if before.get("type") != "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if not spec.get(field) and before.get(field):
                    spec[field] = before[field]
        if spec.get("type") in _WITH_NODE_PORTS:
            known = {(port.get("protocol"), port["port"]): port.get("nodePort") for port in before.get("ports") or ()}
            for port in spec.get("ports") or ():
                if not port.get("nodePort") and known.get((port.get("protocol", "TCP"), port["port"])):
                    port["nodePort"] = known[port.get("protocol", "TCP"), port["port"]]
            if before.get("healthCheckNodePort") and not spec.get("healthCheckNodePort"):
                spec["healthCheckNodePort"] = before["healthCheckNodePort"]

    def allocate(self, old: Object | None, new: Object, *, dry_run: bool) -> None:
        """Complete the spec; 422 where what is asked for cannot be had. A dry run holds nothing afterwards."""
        if old is not None:
            self.release(old)
        try:
            self._addresses(new)
            self._ports(new)
        except ApiRefusal:
            self.release(new)
            if old is not None:
                self.restore(old)
            raise
        if dry_run:
            self.release(new)
            if old is not None:
                self.restore(old)

    def _addresses(self, service: Object) -> None:
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(field, None)
            return
        self._families(service)
        if spec.get("clusterIP") == "None":
            spec["clusterIPs"] = ["None"]
            return
        asked = [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP") or ""] if ip]
        taken: list[str] = []
        for at, family in enumerate(spec["ipFamilies"]):
            ip = asked[at] if at < len(asked) else ""
            taken.append(self._address(service, family, ip))
        spec["clusterIP"], spec["clusterIPs"] = taken[0], taken

    def _address(self, service: Object, family: str, asked: str) -> str:
        pool = self.pools[family]
        owner = _owner(service)
        if not asked:
            try:
                return pool.take(owner)
            except LookupError as full:
                raise ApiRefusal(
                    500, "InternalError", f"Internal error occurred: failed to allocate a serviceIP: {full}", {}
                ) from None
        ip = ip_address(asked)
        why = ""
        if ip not in pool.network:
            why = f"failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range."
            why += f" The range of valid IPs is {pool.network}"
        elif pool.used.get(str(ip), owner) != owner:
            why = f"failed to allocate IP {asked}: provided IP is already allocated"
        if why:
            error = FieldError("spec.clusterIPs", "FieldValueInvalid", [asked], why)
            raise invalid(SERVICE, service["metadata"]["name"], [error])
        pool.used[str(ip)] = owner
        return str(ip)

    def _families(self, service: Object) -> None:
        """IpFamilyPolicy and ipFamilies completed from what was asked and what the cluster has."""
        spec = service["spec"]
        ips = [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP") or ""] if ip and ip != "None"]
        families = list(spec.get("ipFamilies") or [f"IPv{ip_address(ip).version}" for ip in ips])
        policy = spec.setdefault("ipFamilyPolicy", "RequireDualStack" if len(families) > 1 else "SingleStack")
        for family in families:
            if family not in self.pools:
                error = FieldError(
                    "spec.ipFamilies[0]", "FieldValueInvalid", family, "not configured on this cluster"
                )  # fmt: skip
                raise invalid(SERVICE, service["metadata"]["name"], [error])
        if policy == "RequireDualStack" and len(self.pools) < 2:
            error = FieldError(
                "spec.ipFamilyPolicy",
                "FieldValueInvalid",
                policy,
                "this cluster is not configured for dual-stack services",
            )
            raise invalid(SERVICE, service["metadata"]["name"], [error])
        if not families:
            families = [self.families[0]]
        if policy == "SingleStack":
            families = families[:1]
            if ips:
                spec["clusterIPs"] = ips[:1]
        elif len(families) < 2:
            families += [family for family in self.families if family not in families]
        spec["ipFamilies"] = families

    def _ports(self, service: Object) -> None:
        spec = service["spec"]
        wants = spec.get("type") in _WITH_NODE_PORTS and spec.get("allocateLoadBalancerNodePorts") is not False
        owner = _owner(service)
        chosen: dict[int, int] = {}
        for at, port in enumerate(spec.get("ports") or ()):
            if spec.get("type") not in _WITH_NODE_PORTS:
                port.pop("nodePort", None)
                continue
            asked = port.get("nodePort") or 0
            protocol = port.get("protocol", "TCP")
            if asked:
                self._claim(service, f"spec.ports[{at}].nodePort", protocol, asked, owner)
            elif wants:
                shared = chosen.get(port["port"])  # one number for TCP and UDP of the same port, as kube-apiserver
                if shared and (protocol, shared) not in self.ports:
                    port["nodePort"] = shared
                    self.ports[protocol, shared] = owner
                else:
                    port["nodePort"] = self._free_port(protocol, owner)
            if port.get("nodePort"):
                chosen[port["port"]] = port["nodePort"]
        if spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
            if spec.get("healthCheckNodePort"):
                self._claim(service, "spec.healthCheckNodePort", "TCP", spec["healthCheckNodePort"], owner)
            else:
                spec["healthCheckNodePort"] = self._free_port("TCP", owner)
        else:
            spec.pop("healthCheckNodePort", None)

    def _claim(self, service: Object, field: str, protocol: str, port: int, owner: str) -> None:
        low, high = self.port_range
        why = ""
        if not low <= port <= high:
            why = f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
        elif self.ports.get((protocol, port), owner) != owner:
            why = "provided port is already allocated"
        if why:
            raise invalid(SERVICE, service["metadata"]["name"], [FieldError(field, "FieldValueInvalid", port, why)])
        self.ports[protocol, port] = owner

    def _free_port(self, protocol: str, owner: str) -> int:
        low, high = self.port_range
        span = high - low + 1
        start = secrets.randbelow(span)
        for step in range(span):
            port = low + (start + step) % span
            if (protocol, port) not in self.ports:
                self.ports[protocol, port] = owner
                return port
        raise ApiRefusal(
            500, "InternalError", "Internal error occurred: failed to allocate a nodePort: range is full", {}
        )


def _owner(service: Object) -> str:
    return str(service["metadata"]["uid"])


def _addresses(spec: Object) -> list[str]:
    return [ip for ip in spec.get("clusterIPs") or [] if ip and ip != "None"]


def _node_ports(spec: Object) -> list[tuple[str, int]]:
    if spec.get("type") not in _WITH_NODE_PORTS:
        return []
    slots = [
        (port.get("protocol", "TCP"), port["nodePort"]) for port in spec.get("ports") or () if port.get("nodePort")
    ]
    if spec.get("healthCheckNodePort"):
        slots.append(("TCP", spec["healthCheckNodePort"]))
    return slots
