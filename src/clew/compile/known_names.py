"""Of a cluster's names those that a node may answer for by itself: what a service's own addresses say. Pure.

Names come from `compile.dns`, as the DNS server's do. What hangs on endpoints (headless services, endpoints' own names)
or leads elsewhere is the server's: its name is known to exist, and no more. Called by node/fast_names.
"""

from collections.abc import Iterable

from clew.compile.dns import service_names
from clew.facts.endpointslice import EndpointSlice
from clew.facts.service import Service
from clew.ir.names import KnownName, NameServer


def fixed(domain: str) -> tuple[KnownName, ...]:
    """Names that every cluster has."""
    origin = "Kubernetes DNS specification 1.1.0"
    return (
        KnownName(f"svc.{domain}", origin),
        KnownName(f"pod.{domain}", origin, below=True),
        KnownName(f"dns.{domain}", origin, below=True),
        KnownName(f"dns-version.{domain}", origin),
    )


def namespace_name(domain: str, name: str) -> KnownName:
    return KnownName(f"{name}.svc.{domain}", f"Namespace {name}")


def service_name(domain: str, service: Service) -> KnownName | None:
    """A service in a namespace that exists; None: no name of it does."""
    if service.malformed:
        return None
    name, origin = f"{service.name}.{service.namespace}.svc.{domain}", service.origin
    elsewhere = KnownName(name, origin, more=True, below=True)
    if service.type == "ExternalName" or not service.cluster_ips:
        return elsewhere
    try:
        records = service_names(domain, service, ()).records
    except ValueError:
        return elsewhere
    own = {record.type: record.data for record in records if record.name == name and record.type in {"A", "AAAA"}}
    if len(own) < len(service.cluster_ips):
        return elsewhere  # several of one family
    return KnownName(name, origin, tuple(own.values()), below=True)


def name_servers(service: Service | None, slices: Iterable[EndpointSlice]) -> tuple[NameServer, ...]:
    """Every address that a pod's question to the DNS service may bear when it leaves the pod.

    The service's own, and its endpoints', where one was chosen before the packet was made.
    """
    if service is None or service.malformed:
        return ()
    ports = {port.name: port.port for port in service.ports if port.protocol == "UDP"}
    found = [NameServer(ip, port, service.origin) for ip in service.cluster_ips for port in ports.values()]
    for part in slices:
        targets = [port.port for port in part.ports if port.protocol == "UDP" and port.name in ports and port.port]
        if part.address_type != "FQDN" and not part.malformed:
            found += [
                NameServer(ip, port, part.origin)
                for each in part.endpoints
                for ip in each.addresses
                for port in targets
            ]
    return tuple(dict.fromkeys(found))
