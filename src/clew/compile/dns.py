"""Services and their endpoints to the names of the Kubernetes DNS specification 1.1.0. Pure, one service at a time.

Beyond the specification, as CoreDNS: endpoints have their own names and reverse names also where the service has a
cluster IP, and a service's own name has SRV records of all its ports. Called by the DNS server's feed.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from clew.base.value import Value
from clew.facts.endpointslice import Endpoint, EndpointPort, EndpointSlice
from clew.facts.service import Service
from clew.ir.names import NameSet, Record, RecordType


class NameOptions(Value):
    """What a configuration may ask for."""

    pod_names: bool = False  # an endpoint without hostname is called as its pod, where that fits a label
    ignore_empty: bool = False  # a service with a cluster IP and no ready endpoint has no names


_USUAL = NameOptions()
# Ports by addresses of one slice: written by hand it may have 20,000 by 100,000, which no server could hold.
MOST = 100_000


def service_names(
    domain: str, service: Service | None, slices: Iterable[EndpointSlice], options: NameOptions = _USUAL
) -> NameSet:
    """The records of one service in `domain` (`cluster.local`); none where it is not there or could not be read."""
    if service is None or service.malformed:
        return NameSet("", ())
    name = f"{service.name}.{service.namespace}.svc.{domain}"
    if service.type == "ExternalName":
        return NameSet(service.origin, _alias(name, service.external_name))
    ready = list(_ready(service, slices))
    if options.ignore_empty and not ready and not service.headless:
        return NameSet(service.origin, ())
    records = [*_own(name, service), *_endpoints(name, ready, options)]
    if service.headless:
        records += _headless(name, ready, options)
    return NameSet(service.origin, tuple(dict.fromkeys(records)))


def addresses(service: Service | None, slices: Iterable[EndpointSlice]) -> tuple[str, ...]:
    """Every address that has a reverse name through this service, as `ip_address` writes it."""
    if service is None or service.malformed or service.type == "ExternalName":
        return ()
    found = [ip for endpoint, _ in _ready(service, slices) for ip in endpoint.addresses]
    return tuple(dict.fromkeys(filter(None, map(_canonical, (*service.cluster_ips, *found)))))


def _canonical(ip: str) -> str:
    """Several texts may mean one IPv6 address; "" for what is none."""
    try:
        return str(ip_address(ip))
    except ValueError:
        return ""


def _alias(name: str, target: str) -> tuple[Record, ...]:
    """An address is no name: CoreDNS, too, serves nothing for it."""
    try:
        ip_address(target)
    except ValueError:
        return (Record(name, "CNAME", target.removesuffix(".")),)
    return ()


def _address(name: str, ip: str) -> Record:
    kind: RecordType = "AAAA" if ":" in ip else "A"
    return Record(name, kind, ip)


def _reverse(ip: str, name: str) -> Record:
    return Record(ip_address(ip).reverse_pointer, "PTR", name)


def _own(name: str, service: Service) -> Iterator[Record]:
    """What the cluster IPs answer for."""
    for ip in service.cluster_ips:
        yield _address(name, ip)
        yield _reverse(ip, name)
    if service.cluster_ips:
        for port in service.ports:
            target = f"0 100 {port.port} {name}"
            yield Record(name, "SRV", target)
            if port.name:
                yield Record(f"_{port.name}._{port.protocol.lower()}.{name}", "SRV", target)


def _ready(service: Service, slices: Iterable[EndpointSlice]) -> Iterator[tuple[Endpoint, EndpointSlice]]:
    for part in slices:
        if part.address_type != "FQDN" and not part.malformed:
            for endpoint in part.endpoints:
                if endpoint.ready or service.publish_not_ready:
                    yield endpoint, part


def _label(endpoint: Endpoint, ip: str, options: NameOptions) -> str:
    """The endpoint's own label: its hostname, its pod's name where asked for, else its address with dashes."""
    if endpoint.hostname:
        return endpoint.hostname
    if options.pod_names and 0 < len(endpoint.target) < 64 and "." not in endpoint.target:
        return endpoint.target
    return ip.replace(".", "-").replace(":", "-")


def _endpoints(name: str, ready: list[tuple[Endpoint, EndpointSlice]], options: NameOptions) -> Iterator[Record]:
    for endpoint, _ in ready:
        for ip in endpoint.addresses:
            own = f"{_label(endpoint, ip, options)}.{name}"
            yield _address(own, ip)
            yield _reverse(ip, own)


def _ports(part: EndpointSlice) -> tuple[EndpointPort, ...]:
    """Those of the slice that have names: the first, where they and its addresses are too many."""
    return part.ports[: MOST // max(1, sum(len(endpoint.addresses) for endpoint in part.endpoints))]


def _headless(name: str, ready: list[tuple[Endpoint, EndpointSlice]], options: NameOptions) -> list[Record]:
    """A headless service's name is all its endpoints; each named port an SRV set over them."""
    ports = {key: _ports(part) for key, part in {id(part): part for _, part in ready}.items()}
    records: list[Record] = []
    targets: dict[str, dict[tuple[int, str], None]] = {}
    for endpoint, part in ready:
        for ip in endpoint.addresses:
            own = f"{_label(endpoint, ip, options)}.{name}"
            records.append(_address(name, ip))
            for port in ports[id(part)]:
                targets.setdefault(name, {})[port.port, own] = None
                if port.name:
                    targets.setdefault(f"_{port.name}._{port.protocol.lower()}.{name}", {})[port.port, own] = None
    for service, found in targets.items():
        weight = max(100 // len(found), 1)
        records += [Record(service, "SRV", f"0 {weight} {port} {target}") for port, target in found]
    return records
