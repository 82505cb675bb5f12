"""From a virtual server, an entry or a packet back to the Service it is there for, and one sentence on it. Pure.

The origin of a virtual server stands beside it in the programme: IPVS has no room for a remark. What was read back and
is known to nobody has none.
"""

from collections.abc import Callable, Iterator

from clew.base.addresses import with_port
from clew.base.value import Value
from clew.dataplane.ipvs.objects import State, VirtualKey, VirtualServer
from clew.dataplane.ipvs.simulate import Followed

ROLES = {
    "KUBE-CLUSTER-IP": "is a cluster address; who comes from beyond the pods gets the node's address",
    "KUBE-LOOP-BACK": "is a pod that reaches itself through a service, and gets the node's address",
    "KUBE-EXTERNAL-IP": "is an external address of a service; everybody gets the node's address",
    "KUBE-EXTERNAL-IP-LOCAL": "is an external address for backends on this node; clients keep their address",
    "KUBE-LOAD-BALANCER": "is a load balancer's address; who uses it gets the node's address, unless it is local",
    "KUBE-LOAD-BALANCER-LOCAL": "is a load balancer's address for backends on this node; clients keep their address",
    "KUBE-LOAD-BALANCER-FW": "is a load balancer's address that only some sources may use",
    "KUBE-LOAD-BALANCER-SOURCE-CIDR": "is a source that may use a load balancer's address",
    "KUBE-NODE-PORT-TCP": "is a port on the node; who uses it gets the node's address, unless it is local",
    "KUBE-NODE-PORT-UDP": "is a port on the node; who uses it gets the node's address, unless it is local",
    "KUBE-NODE-PORT-SCTP-HASH": "is a port on the node; who uses it gets the node's address, unless it is local",
    "KUBE-NODE-PORT-LOCAL-TCP": "is a port on the node for backends on this node; clients keep their address",
    "KUBE-NODE-PORT-LOCAL-UDP": "is a port on the node for backends on this node; clients keep their address",
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH": "is a port on the node for backends on this node; clients keep their address",
    "KUBE-IPVS-IPS": "is an address that kube-ipvs0 carries; ports of it that no service has are refused",
    "KUBE-DROP": "is dropped: it is served on other nodes only",
    "KUBE-REFUSE": "is refused: nobody serves it",
    "KUBE-SERVICE-RANGE": "is a range of cluster addresses; those that no service has are dropped",
    "KUBE-DROP-OUTSIDE": "is dropped for clients beyond the pods: it is served on other nodes only",
}
Origin = Callable[[VirtualKey], str]


class Row(Value):
    """One object in words, as tables of scenarios and `clew trace` show it."""

    kind: str
    key: str
    value: str


def rows(state: State) -> Iterator[Row]:
    """Virtual servers and entries in order; addresses of the device are those of KUBE-IPVS-IPS."""
    for key in sorted(state.servers):
        behind = ", ".join(
            with_port(address, port) + ("" if weight else " (draining)")
            for (address, port), weight in sorted(state.reals.get(key, {}).items())
        )
        yield Row("virtual server", name(key), f"{_choice(state.servers[key])}: {behind or 'nobody'}")
    for name_of_set in sorted(state.sets):
        for entry in sorted(state.sets[name_of_set]):
            yield Row(name_of_set, entry, "")


def server(key: VirtualKey, state: State, origin: Origin) -> tuple[str, str]:
    """The Service and one sentence."""
    reals = state.reals.get(key, {})
    count = sum(weight > 0 for weight in reals.values())
    whom = "nobody, so it is refused" if not count else f"{count} backend{'s' * (count > 1)}"
    said = origin(key)
    return (
        f"Service {said}" if said else "",
        f"{name(key)} is a virtual server with {whom} ({_choice(state.servers[key])})",
    )


def entry(name_of_set: str, text: str) -> str:
    """One sentence about an entry; the set by the name that it has in the kernel."""
    plain = name_of_set.replace("KUBE-6-", "KUBE-", 1)
    role = next(
        role for known, role in ROLES.items() if known == plain or (known.startswith(plain) and len(plain) > 28)
    )
    return f"{text} {role}"


def packet(outcome: Followed, state: State, origin: Origin) -> tuple[str, list[str]]:
    """The Service that a packet's fate is owed to, and the rules and objects that decided, in order."""
    lines = list(outcome.rules)
    if outcome.server is None:
        return "", lines
    service, sentence = server(outcome.server, state, origin)
    return service, [*lines, sentence]


def name(key: VirtualKey) -> str:
    protocol, address, port = key
    return f"{with_port(address, port)}/{protocol}"


def _choice(kept: VirtualServer) -> str:
    sticky = f", a client keeps its own for {kept.persistence} s" if kept.persistence else ""
    return f"{kept.scheduler}{' with the port' if kept.port_in_hash else ''}{sticky}"
