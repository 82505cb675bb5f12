"""The API server's own Service `kubernetes`, with hand-kept endpoints; the range's first address is its by custom.

Made by bootstrap before the server serves and kept by its chores: `kubectl delete service --all` takes it, too, and
every client inside of the cluster, DNS among them, would be cut off.
"""

from ipaddress import ip_network

from clew.api.kinds import ENDPOINT_SLICE, ENDPOINTS, SERVICE, Kind
from clew.api.objects import Object
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.state import Writer


async def ensure(registry: Registry, writer: Writer) -> None:
    """Make what is missing and put right where it leads; ApiRefusal where another Service has the address."""
    options = registry.state.options
    if not options.advertise:
        return
    port, family = options.advertise[0][1], options.ip_families[0]
    first = str(ip_network(options.service_cidrs[0]).network_address + 1)
    spec = {
        "type": "ClusterIP", "clusterIP": first, "sessionAffinity": "None",
        "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
    }  # fmt: skip
    labels = {"component": "apiserver", "provider": "kubernetes"}
    if registry.state.latest(SERVICE, "default", "kubernetes") is None:
        made = {"metadata": {"name": "kubernetes", "labels": labels}, "spec": spec}
        await registry.create(SERVICE, "default", made, writer)
    primary = [ip for ip, _ in options.advertise if (":" in ip) == (family == "IPv6")]
    ports = [{"name": "https", "protocol": "TCP", "port": port}]
    endpoints: Object = {
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ip} for ip in primary], "ports": ports}],
    }
    part: Object = {
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family,
        "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in primary],
        "ports": ports,
    }
    await _replace(registry, ENDPOINTS, endpoints, writer)
    await _replace(registry, ENDPOINT_SLICE, part, writer)


async def _replace(registry: Registry, kind: Kind, obj: Object, writer: Writer) -> None:
    """Create, or update where the address has moved."""
    record = registry.state.latest(kind, "default", "kubernetes")
    if record is None:
        await registry.create(kind, "default", obj, writer)
        return
    current = record.decode()
    wanted = current | {key: value for key, value in obj.items() if key != "metadata"}
    if wanted != current:  # asked after every write of a Service, so it must cost nothing
        await registry.update(kind, "default", "kubernetes", wanted, writer)
