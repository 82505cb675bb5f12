"""The chains of userspace mode: what the services' lines stand in, and how packets come to them. Pure."""

from collections.abc import Iterable, Mapping

from clew.base.xtables import Jump, Wanted, comment, whole
from clew.dataplane.userspace.objects import HUBS, Line, WayKey
from clew.dataplane.userspace.render import NOBODY, UNREACHABLE
from clew.ir.proxying import Settings

PORTALS = f"-m comment {comment('handle ClusterIPs; NOTE: this must be before the NodePort rules')} "
NODE_PORTS = f"-m comment {comment('handle service NodePorts; NOTE: this must be the last rule in the chain')} "
NEW = "-m conntrack --ctstate NEW "
OWNED: Mapping[str, tuple[str, ...]] = {
    table: (
        *(hub for hub, where in HUBS.items() if where == table),
        *(("KUBE-PROXY-PORTS",) if table == "filter" else ()),
    )
    for table in ("nat", "filter", "mangle")
}


def rules(lines: Iterable[Line], ports: Mapping[WayKey, int], settings: Settings) -> Wanted:
    """All chains with the lines of all services, and the jumps to them from the kernel's own.

    `ports`: where the proxy listens; a line to a way that has no port is left out.
    """
    chains: dict[str, dict[str, tuple[str, ...]]] = {table: {} for table in OWNED}
    hubs: dict[str, list[tuple[int, str]]] = {hub: [] for hub in HUBS}
    for line in lines:
        port = ports.get(line.to) if line.to else None
        if line.to is None or port is not None:
            hubs[line.hub].append((line.rank, f"{line.text}{port if line.to else ''}"))
    hubs["KUBE-PORTALS-FILTER"] += [(NOBODY, f"-d {whole(prefix)} -j DROP") for prefix in settings.service_cidrs]
    for hub, table in HUBS.items():
        chains[table][hub] = tuple(text for _, text in sorted(set(hubs[hub])))
    chains["filter"]["KUBE-PROXY-PORTS"] = tuple(sorted(_own(key, port, settings) for key, port in ports.items()))
    return Wanted(chains, _jumps(settings))


def _own(key: WayKey, port: int, settings: Settings) -> str:
    protocol = key.protocol.lower()
    refusal = "tcp-reset" if protocol == "tcp" else UNREACHABLE[settings.family]
    return f"-p {protocol} -m {protocol} --dport {port} -j REJECT --reject-with {refusal}"


def _jumps(settings: Settings) -> tuple[Jump, ...]:
    addresses = [f"-d {whole(prefix)} " for prefix in settings.node_port_addresses] or [""]
    to_here = [f"{each}-m addrtype --dst-type LOCAL {NODE_PORTS}" for each in addresses]
    return (
        Jump("nat", "PREROUTING", f"{PORTALS}-j KUBE-PORTALS-CONTAINER"),
        *(Jump("nat", "PREROUTING", f"{each}-j KUBE-NODEPORT-CONTAINER") for each in to_here),
        Jump("nat", "OUTPUT", f"{PORTALS}-j KUBE-PORTALS-HOST"),
        *(Jump("nat", "OUTPUT", f"{each}-j KUBE-NODEPORT-HOST") for each in to_here),
        Jump("mangle", "PREROUTING", f"{NEW}-j KUBE-PORTALS-FIREWALL"),
        Jump("mangle", "OUTPUT", f"{NEW}-j KUBE-PORTALS-FIREWALL"),
        *(Jump("filter", chain, f"{NEW}-j KUBE-PORTALS-FILTER") for chain in ("INPUT", "FORWARD", "OUTPUT")),
        Jump("filter", "INPUT", f"{NEW}-j KUBE-NODEPORT-NON-LOCAL"),
        # the proxy's own ports are for what was redirected, and for nobody who finds them; only first packets walk
        # them: what backends answer to the proxy is not translated either
        Jump("filter", "INPUT", f"{NEW}-m conntrack ! --ctstate DNAT -j KUBE-PROXY-PORTS"),
    )
