"""Services and their endpoints to the names of the Kubernetes DNS specification 1.1.0. Pure, one service at a time.

Beyond the specification, as CoreDNS: endpoints have their own names and reverse names also where the service has a
cluster IP. Called by the DNS server's feed.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from clew.facts.endpointslice import Endpoint, EndpointSlice
from clew.facts.service import Service
from clew.ir.names import NameSet, Record, RecordType


def service_names(domain: str, service: Service | None, slices: Iterable[EndpointSlice]) -> NameSet:
    """The records of one service in `domain` (`cluster.local`); none where it is not there or could not be read."""
    if service is None or service.malformed:
        return NameSet("", ())
    name = f"{service.name}.{service.namespace}.svc.{domain}"
    origin = f"Service {service.namespace}/{service.name}"
    if service.type == "ExternalName":
        return NameSet(origin, (Record(name, "CNAME", service.external_name.removesuffix(".")),))
    ready = list(_ready(service, slices))
    records = [*_own(name, service), *_endpoints(name, ready)]
    if service.headless:
        records += _headless(name, ready)
    return NameSet(origin, tuple(dict.fromkeys(records)))


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
            if port.name:
                yield Record(f"_{port.name}._{port.protocol.lower()}.{name}", "SRV", f"0 100 {port.port} {name}")


def _ready(service: Service, slices: Iterable[EndpointSlice]) -> Iterator[tuple[Endpoint, EndpointSlice]]:
    for part in slices:
        if part.address_type != "FQDN" and not part.malformed:
            for endpoint in part.endpoints:
                if endpoint.ready or service.publish_not_ready:
                    yield endpoint, part


def _label(endpoint: Endpoint, ip: str) -> str:
    """The endpoint's own label: its hostname, else its address with dashes."""
    return endpoint.hostname or ip.replace(".", "-").replace(":", "-")


def _endpoints(name: str, ready: list[tuple[Endpoint, EndpointSlice]]) -> Iterator[Record]:
    for endpoint, _ in ready:
        for ip in endpoint.addresses:
            own = f"{_label(endpoint, ip)}.{name}"
            yield _address(own, ip)
            yield _reverse(ip, own)


def _headless(name: str, ready: list[tuple[Endpoint, EndpointSlice]]) -> list[Record]:
    """A headless service's name is all its endpoints; each named port an SRV set over them."""
    records: list[Record] = []
    targets: dict[str, dict[tuple[int, str], None]] = {}
    for endpoint, part in ready:
        for ip in endpoint.addresses:
            records.append(_address(name, ip))
            for port in part.ports:
                if port.name:
                    service = f"_{port.name}._{port.protocol.lower()}.{name}"
                    targets.setdefault(service, {})[port.port, f"{_label(endpoint, ip)}.{name}"] = None
    for service, found in targets.items():
        weight = max(100 // len(found), 1)
        records += [Record(service, "SRV", f"0 {weight} {port} {target}") for port, target in found]
    return records
