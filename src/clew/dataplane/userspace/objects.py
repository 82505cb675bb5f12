"""What one family's services are in userspace mode: ways through the proxy, and rules that lead packets into them.

A way is one listening port of the proxy with the backends that it dials; a service port has one for each traffic policy
in use. Values only; rendered by render, kept by programme, carried into the kernel by apply, read by simulate.
"""

from collections.abc import Mapping
from typing import Literal

from clew.base.value import Value
from clew.base.xtables import Ruleset
from clew.ir.balancing import Policy, Protocol

At = tuple[str, int]
Hub = Literal[
    "KUBE-PORTALS-CONTAINER",
    "KUBE-PORTALS-HOST",
    "KUBE-NODEPORT-CONTAINER",
    "KUBE-NODEPORT-HOST",
    "KUBE-PORTALS-FIREWALL",
    "KUBE-PORTALS-FILTER",
    "KUBE-NODEPORT-NON-LOCAL",
]
HUBS: Mapping[Hub, str] = {
    "KUBE-PORTALS-CONTAINER": "nat",
    "KUBE-PORTALS-HOST": "nat",
    "KUBE-NODEPORT-CONTAINER": "nat",
    "KUBE-NODEPORT-HOST": "nat",
    "KUBE-PORTALS-FIREWALL": "mangle",
    "KUBE-PORTALS-FILTER": "filter",
    "KUBE-NODEPORT-NON-LOCAL": "filter",
}


class WayKey(Value):
    """`origin`: the service port, "default/web:http"."""

    origin: str
    protocol: Protocol
    policy: Policy

    def __str__(self) -> str:
        return self.origin if self.policy == "Cluster" else f"{self.origin} local"


class Way(Value):
    """Whom the proxy dials. `others` get nothing new and keep the flows that they have."""

    backends: tuple[At, ...]
    others: tuple[At, ...] = ()
    affinity: int = 0  # seconds


class Line(Value):
    """A rule of a hub. `to` is the way whose port it redirects to, which is known when the way has its socket."""

    hub: Hub
    rank: int  # rules of a hub stand in this order, and within it by text
    text: str
    to: WayKey | None = None


class Part(Value):
    """All that one service needs in one family."""

    ways: Mapping[WayKey, Way]
    lines: tuple[Line, ...]
    claims: frozenset[tuple[Protocol, int]]  # node ports, which nobody else on the node may have


class State(Value):
    """Everything that decides about packets to services: the rules, and the proxy's ports with whom they stand for."""

    rules: Ruleset
    ways: Mapping[tuple[Protocol, int], tuple[WayKey, Way]]
