"""From load balancing to virtual servers, addresses and entries, one service at a time. Pure.

IPVS tells its clients apart by where they send to and by nothing else. So a frontend has one set of real servers, and
where policy Local gives clients inside another answer than those outside, all get the local one; only where the node
has no backend, clients inside are served by the others and those outside are dropped.
"""

from collections.abc import Collection, Iterable
from ipaddress import ip_address, ip_network

from clew.dataplane.ipvs.objects import NODE_PORTS, Answering, Entry, Part, VirtualKey, VirtualServer, place
from clew.ir.balancing import Backend, Balancer, Frontend
from clew.ir.proxying import Settings


def render(balancers: Iterable[Balancer], settings: Settings, node_addresses: Collection[str]) -> Part:
    """What these balancers of the settings' family need. `node_addresses`: those that other links than ours carry."""
    servers: dict[VirtualKey, Answering] = {}
    addresses: set[str] = set()
    entries: set[Entry] = set()
    for balancer in balancers:
        if balancer.family != settings.family:
            continue
        server = VirtualServer(settings.ipvs.scheduler, balancer.affinity, settings.ipvs.scheduler == "mh")
        for frontend in balancer.frontends:
            reals, fate = _serving(balancer, frontend)
            keys = _keys(frontend, settings, node_addresses)
            behind = tuple((each.address, each.port) for each in reals)
            servers |= dict.fromkeys(keys, Answering(server, behind, balancer.origin))
            carried = bool(frontend.address) and frontend.address not in node_addresses
            if carried:
                addresses.add(frontend.address)
                entries.add(("KUBE-IPVS-IPS", frontend.address))
            if not reals and not fate and not carried:
                fate = "KUBE-REFUSE"
            entries |= {(fate, place(key)) for key in keys if fate}
            entries |= _kinds(frontend, keys) if reals else set()
            entries |= _sources(frontend)
            entries |= {
                ("KUBE-LOOP-BACK", f"{each.address},{frontend.protocol.lower()}:{each.port},{each.address}")
                for each in reals
                if each.place != "elsewhere"
            }
    return Part(servers, frozenset(addresses), frozenset(entries))


def _serving(balancer: Balancer, frontend: Frontend) -> tuple[tuple[Backend, ...], str]:
    """Who answers, and the set of those that must not be answered, if there are some."""
    if frontend.policy == "Cluster":
        return balancer.cluster, ""
    if balancer.local or not balancer.any_backend:
        return balancer.local, ""
    if frontend.scope == "internal" or not balancer.cluster:
        return (), "KUBE-DROP"
    return balancer.cluster, "KUBE-DROP-OUTSIDE"


def _keys(frontend: Frontend, settings: Settings, node_addresses: Collection[str]) -> list[VirtualKey]:
    if frontend.address:
        return [(frontend.protocol, frontend.address, frontend.port)]
    return [(frontend.protocol, address, frontend.port) for address in node_port_addresses(settings, node_addresses)]


def node_port_addresses(settings: Settings, node_addresses: Collection[str]) -> list[str]:
    """On which of the node's addresses its ports are open."""
    prefixes = [ip_network(each) for each in settings.node_port_addresses]

    def is_open(text: str) -> bool:
        address = ip_address(text)
        if address.version != settings.family or address.is_loopback or address.is_link_local:
            return False
        return not prefixes or any(address in prefix for prefix in prefixes)

    return [text for text in sorted(node_addresses) if is_open(text)]


def _kinds(frontend: Frontend, keys: Iterable[VirtualKey]) -> set[Entry]:
    """The sets that say what kind of frontend this is; their members are let through to IPVS."""
    local = frontend.policy == "Local"
    if not frontend.address:
        both = NODE_PORTS[frontend.protocol][: 2 if local else 1]
        texts = [place(key) for key in keys] if frontend.protocol == "SCTP" else [str(frontend.port)]
        return {(name, text) for name in both for text in texts}
    here = _here(frontend)
    if frontend.scope == "internal":
        return {("KUBE-CLUSTER-IP", here)}
    if frontend.field.startswith("spec.externalIPs"):
        return {("KUBE-EXTERNAL-IP-LOCAL" if local else "KUBE-EXTERNAL-IP", here)}
    return {("KUBE-LOAD-BALANCER", here)} | ({("KUBE-LOAD-BALANCER-LOCAL", here)} if local else set())


def _sources(frontend: Frontend) -> set[Entry]:
    """Who may use it, where that is not everybody."""
    if frontend.sources is None:
        return set()
    here = _here(frontend)
    listed = {("KUBE-LOAD-BALANCER-SOURCE-CIDR", f"{here},{_short(prefix)}") for prefix in frontend.sources}
    return {("KUBE-LOAD-BALANCER-FW", here), *listed}


def _here(frontend: Frontend) -> str:
    return place((frontend.protocol, frontend.address, frontend.port))


def _short(prefix: str) -> str:
    """A whole address stands without its length, as ipset prints it."""
    network = ip_network(prefix)
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else prefix
