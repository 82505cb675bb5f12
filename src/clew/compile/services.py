"""From Services and EndpointSlices to load balancing: `balance` for one service, `ServiceCompiler` for all of them.

`balance` is a pure function of (service, its slices, this node) and the whole truth about one service. Services can
claim the same address and port by mistake; `ServiceCompiler` gives it to the oldest, tells the others, and hands it on
when the holder lets go. It works per key; running it over everything from empty gives the same answer and is its test.

What is wrong with an object becomes a Problem beside the answer for the rest of it, never an exception. Semantics are
kube-proxy's of Kubernetes 1.37; docs/design/services.md lists the differences.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import collapse_addresses, ip_address, ip_network
from typing import Any

import msgspec

from clew.base.addresses import Family, family_of
from clew.base.errors import Problem
from clew.base.value import Value
from clew.compile.endpoints import Candidates, choose, gather
from clew.facts.endpointslice import EndpointSlice
from clew.facts.service import Service, ServicePort
from clew.ir.balancing import NOTHING, Balancer, Balancing, Frontend, HealthCheck
from clew.reconcile import Claims

Key = tuple[str, str]
Rank = tuple[str, str, str]  # when it was created, namespace, name: the order in which services may claim
Claim = tuple[Family, str, str, int]

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
PLAIN_IPV4 = re.compile(rf"({_OCTET}\.){{3}}{_OCTET}", re.ASCII).fullmatch  # quicker than to parse 40,000 at a start
LEADING_ZEROS = re.compile(r"\b0+(?=\d)", re.ASCII)


class ServiceNode(Value):
    """What the balancing of a service depends on besides the service: the node it is computed for."""

    name: str
    zone: str = ""
    addresses: tuple[str, ...] = ()


def balance(service: Service, slices: Iterable[EndpointSlice], node: ServiceNode) -> Balancing:
    """Everything that this node does for one service."""
    problems: list[Problem] = []
    if service.malformed:
        return Balancing((), (Problem(service.origin, "", service.malformed),))
    if not _concerns_proxies(service):
        return NOTHING
    slices = sorted((piece for piece in slices if _usable(piece, problems)), key=_name)
    families: tuple[Family, ...] = (4, 6)
    balancers = [balancer for family in families for balancer in _family(service, slices, node, family, problems)]
    return Balancing(tuple(balancers), tuple(dict.fromkeys(problems)), _health(service, slices, node))


def _health(service: Service, slices: Iterable[EndpointSlice], node: ServiceNode) -> HealthCheck | None:
    """Ready backends on this node, those of the service's first family; terminating ones do not count."""
    port = _health_port(service)
    if not port:
        return None
    family = f"IPv{family_of(service.cluster_ips[0])}"
    here = {
        endpoint.addresses[0]
        for piece in slices
        if piece.address_type == family
        for endpoint in piece.endpoints
        if endpoint.ready and endpoint.node == node.name and endpoint.addresses
    }
    return HealthCheck(port, len(here))


def _health_port(service: Service) -> int:
    wanted = service.type == "LoadBalancer" and service.external_policy == "Local"
    return service.health_check_node_port if wanted else 0


def _name(piece: EndpointSlice) -> str:
    return piece.name


def _concerns_proxies(service: Service) -> bool:
    return bool(
        service.cluster_ips and service.type != "ExternalName" and not service.proxy_name and not service.headless_label
    )


def _usable(piece: EndpointSlice, problems: list[Problem]) -> bool:
    if piece.malformed:
        problems.append(Problem(piece.origin, "", piece.malformed))
    return not (piece.malformed or piece.proxy_name or piece.headless)


def _family(
    service: Service, slices: Iterable[EndpointSlice], node: ServiceNode, family: Family, problems: list[Problem]
) -> Iterable[Balancer]:
    """One balancer a port, if the service has a cluster address of this family."""
    others = service.external_ips or service.ingress  # looked at for what is wrong with them
    if not others and not any(family_of(text) == family for text in service.cluster_ips):
        return
    addresses = _addresses(service, family, problems)
    if not any(scope == "internal" for _, scope, _ in addresses):
        return
    sources = _sources(service, node, family, problems)
    external = any(scope == "external" for _, scope, _ in addresses)
    candidates = gather(slices, f"IPv{family}", {(port.name, port.protocol) for port in service.ports})
    for index, port in enumerate(service.ports):
        reachable = external or bool(port.node_port)
        chosen = choose(
            _valid(candidates.get((port.name, port.protocol), {}), service, family, problems),
            node.name,
            node.zone,
            cluster=service.internal_policy == "Cluster" or reachable,
            local=service.internal_policy == "Local" or (reachable and service.external_policy == "Local"),
        )
        yield Balancer(
            origin=f"{service.namespace}/{service.name}:{port.name}".removesuffix(":"),
            family=family,
            affinity=service.affinity_timeout,
            cluster=chosen.cluster,
            local=chosen.local,
            others=chosen.others,
            any_backend=chosen.any_backend,
            frontends=tuple(_frontends(service, port, index, addresses, sources)),
            health_port=_health_port(service),
        )


AddressRow = tuple[str, str, str]  # address, scope, field


def _addresses(service: Service, family: Family, problems: list[Problem]) -> list[AddressRow]:
    rows = [(text, "internal", f"spec.clusterIPs[{at}]") for at, text in enumerate(service.cluster_ips)]
    if service.external_ips:
        rows += [(text, "external", f"spec.externalIPs[{at}]") for at, text in enumerate(service.external_ips)]
    if service.ingress:
        rows += [
            (ingress.ip, "external", f"status.loadBalancer.ingress[{at}].ip")
            for at, ingress in enumerate(service.ingress)
            if ingress.ip and ingress.mode == "VIP"
        ]
    found = []
    for text, scope, field in rows:
        if family_of(text) == family:
            address = canonical(text)
            if address:
                found.append((address, scope, field))
            else:
                problems.append(_problem(service, field, f"{text!r} is not an IP address"))
    return found


def canonical(text: str) -> str:
    """The one spelling of an address; "" where it is none, or one that is only within a link (`fe80::1%eth0`)."""
    if PLAIN_IPV4(text):
        return text
    if "%" in text:
        return ""
    try:
        return str(ip_address(_decimal(text)))
    except ValueError:
        return ""


def _decimal(text: str) -> str:
    """Without leading zeros, which old API servers took in IPv4 and Kubernetes reads as decimal (CVE-2021-29923)."""
    return text if ":" in text else LEADING_ZEROS.sub("", text)


def _valid(candidates: Candidates, service: Service, family: Family, problems: list[Problem]) -> Candidates:
    """Without the endpoints whose address is none of this family; their spelling made canonical."""
    if family == 4 and all(PLAIN_IPV4(text) for text, _ in candidates):
        return candidates
    valid: Candidates = {}
    for (text, port), endpoint in candidates.items():
        address = canonical(text)
        if address and family_of(address) == family:
            valid[address, port] = endpoint
        else:
            problems.append(_problem(service, "endpoints", f"{text!r} is not an IPv{family} address"))
    return valid


def _frontends(
    service: Service,
    port: ServicePort,
    index: int,
    addresses: Iterable[AddressRow],
    sources: tuple[str, ...] | None,
) -> Iterable[Frontend]:
    seen = set()
    balanced = {address for address, _, field in addresses if field.startswith("status")}
    for address, scope, field in addresses:
        if address in seen:
            continue
        seen.add(address)
        if scope == "internal":
            yield Frontend(address, port.protocol, port.port, "internal", service.internal_policy, None, field)
        else:
            ranges = sources if address in balanced else None  # also where it is named in externalIPs
            yield Frontend(address, port.protocol, port.port, "external", service.external_policy, ranges, field)
    if port.node_port:
        field = f"spec.ports[{index}].nodePort"
        yield Frontend("", port.protocol, port.node_port, "external", service.external_policy, None, field)


def _sources(service: Service, node: ServiceNode, family: Family, problems: list[Problem]) -> tuple[str, ...] | None:
    """Prefixes that may use the load balancer's addresses; None: anyone.

    As with kube-proxy, ranges of the other family restrict nothing in this one. What is not a prefix is left out, which
    admits fewer, never more.
    """
    mine = [text for text in service.source_ranges if family_of(text) == family]
    if not mine:
        return None
    networks: list[Any] = []
    for text in mine:
        try:
            networks.append(ip_network(_decimal(text), strict=False))
        except ValueError:
            problems.append(_problem(service, "spec.loadBalancerSourceRanges", f"{text!r} is not a CIDR"))
    addresses = [ip_address(text) for text in node.addresses if family_of(text) == family]
    if any(address in network for address in addresses for network in networks):
        # A node that talks to an address which it carries itself has that address as its source.
        carried = [canonical(ingress.ip) for ingress in service.ingress if ingress.mode == "VIP"]
        networks += [ip_network(text) for text in carried if text and family_of(text) == family]
    if any(network.prefixlen == 0 for network in networks):
        return None
    return tuple(map(str, collapse_addresses(networks)))


def _problem(service: Service, field: str, message: str) -> Problem:
    return Problem(service.origin, field, message)


class Changed(Value):
    before: Balancing
    after: Balancing


class ServiceCompiler:
    """All services, key by key. Remembers what it computed; reads facts only through the functions it is given."""

    def __init__(self, node: ServiceNode) -> None:
        self.node = node
        self._alone: dict[Key, Balancing] = {}  # each service as if there were no other
        self._ranks: dict[Key, Rank] = {}
        self._claims: Claims[Rank, Claim, str] = Claims()
        self._balancings: dict[Key, Balancing] = {}

    def move(self, node: ServiceNode) -> None:
        """The node became another; every service is to be updated then."""
        self.node = node

    @property
    def balancings(self) -> Mapping[Key, Balancing]:
        """What was computed so far, by service; services that need nothing are not in it."""
        return self._balancings

    def update(
        self,
        keys: Iterable[Key],
        service: Callable[[Key], Service | None],
        slices: Callable[[Key], Iterable[EndpointSlice]],
    ) -> dict[Key, Changed]:
        """Compute these services anew; returns what became different, of other services too (they may inherit)."""
        affected: set[Key] = set()
        for key in keys:
            affected.add(key)
            affected |= self._compute(key, service(key), slices)
        changed = {}
        for key in sorted(affected):
            balancing = self._without_lost(key)
            before = self._balancings.get(key, NOTHING)
            if balancing != before:
                changed[key] = Changed(before, balancing)
                if balancing == NOTHING:
                    del self._balancings[key]
                else:
                    self._balancings[key] = balancing
        return changed

    def _compute(self, key: Key, service: Service | None, slices: Callable[[Key], Iterable[EndpointSlice]]) -> set[Key]:
        """Renew one service; returns the keys of others that may win or lose something by it."""
        balancing = balance(service, slices(key), self.node) if service else NOTHING
        rank = (service.created if service else "", *key)
        touched: set[Claim] = set()
        known = self._ranks.get(key)
        if known is not None and known != rank:
            touched |= self._claims.claim(known, {})
        touched |= self._claims.claim(rank, dict.fromkeys(_claims(balancing), ""))
        if balancing == NOTHING:
            self._alone.pop(key, None)
            self._ranks.pop(key, None)
        else:
            self._alone[key] = balancing
            self._ranks[key] = rank
        return {(owner[1], owner[2]) for claim in touched for owner in self._claims.claimants(claim)}

    def _without_lost(self, key: Key) -> Balancing:
        """The service without the frontends that an older service holds."""
        balancing = self._alone.get(key, NOTHING)
        if not self._claims.contested:  # as it should be; this is asked of every service at a start
            return balancing
        rank = self._ranks.get(key)
        lost = {claim: held[0] for claim in _claims(balancing) if (held := self._claims.get(claim)) and held[0] != rank}
        if not lost:
            return balancing
        problems = list(balancing.problems)
        balancers = []
        for balancer in balancing.balancers:
            kept = []
            for frontend in balancer.frontends:
                holder = lost.get((balancer.family, *frontend.claim))
                if holder is None:
                    kept.append(frontend)
                else:
                    problems.append(_taken(key, frontend, holder))
            balancers.append(msgspec.structs.replace(balancer, frontends=tuple(kept)))
        return Balancing(tuple(balancers), tuple(dict.fromkeys(problems)), balancing.health)


def _claims(balancing: Balancing) -> Iterable[Claim]:
    return ((balancer.family, *frontend.claim) for balancer in balancing.balancers for frontend in balancer.frontends)


def _taken(key: Key, frontend: Frontend, holder: Rank) -> Problem:
    what = f"{frontend.address} port" if frontend.address else "node port"
    return Problem(
        f"Service {key[0]}/{key[1]}",
        frontend.field,
        f"{what} {frontend.port}/{frontend.protocol} belongs to the older Service {holder[1]}/{holder[2]};"
        " this one does not get it until that one lets go",
    )
