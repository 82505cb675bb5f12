"""What every backend of services is put through: balancers, and states between which it has to find its way."""

from collections.abc import Iterable

from clew.ir.balancing import Backend as Pod
from clew.ir.balancing import Balancer, Frontend, Policy

Owner = tuple[str, str]
Wanted = dict[Owner, tuple[Balancer, ...]]

A, B = ("default", "a"), ("default", "b")
_INGRESS = "status.loadBalancer.ingress[0].ip"


def balancer(
    origin: str, address: str, pods: Iterable[str], *, affinity: int = 0, policy: Policy = "Cluster", node_port: int = 0
) -> Balancer:
    everywhere = tuple(Pod(pod, 8080, "here" if pod.endswith(".1") else "elsewhere") for pod in sorted(pods))
    frontends = [Frontend(address, "TCP", 80, "internal", "Cluster", None, "spec.clusterIPs[0]")]
    if node_port:
        frontends.append(Frontend("", "TCP", node_port, "external", policy, None, "spec.ports[0].nodePort"))
        frontends.append(Frontend("192.0.2.1", "TCP", node_port, "external", policy, ("10.0.0.0/8",), _INGRESS))
    local = tuple(pod for pod in everywhere if pod.place == "here") if policy == "Local" else ()
    return Balancer(origin, 4, affinity, everywhere, local, (), bool(everywhere), tuple(frontends))


def states(node_port: int) -> dict[str, Wanted]:
    """By name: what all services want of a node; `node_port` is free on it."""
    return {
        "empty": {},
        "one": {A: (balancer("default/a", "10.96.0.1", ["10.0.0.1", "10.0.0.2"]),)},
        "one fewer": {A: (balancer("default/a", "10.96.0.1", ["10.0.0.2"]),)},
        "none left": {A: (balancer("default/a", "10.96.0.1", [], node_port=node_port),)},
        "sticky": {A: (balancer("default/a", "10.96.0.1", ["10.0.0.1", "10.0.0.2"], affinity=60),)},
        "two share a pod": {
            A: (balancer("default/a", "10.96.0.1", ["10.0.0.1"]),),
            B: (balancer("default/b", "10.96.0.2", ["10.0.0.1", "10.0.0.3"], node_port=node_port, policy="Local"),),
        },
        "the address moves": {B: (balancer("default/b", "10.96.0.1", ["10.0.0.3"], node_port=node_port),)},
    }


STATES = states(30080)


def changes(before: Wanted, after: Wanted) -> Wanted:
    """What a backend is told to get from one to the other: owners that differ, those that are gone with nothing."""
    return {key: after.get(key, ()) for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
