"""Load balancing in neutral words: addresses on which a service answers, and who answers. No Kubernetes, no kernel.

Written by compile/services, read by every proxy backend. What each part means for a packet:

* A `Frontend` with scope "internal" is reached from inside (a cluster address); its packets keep their source unless
  they come from beyond the pods. One with scope "external" is an outside address or a port on the node.
* Policy "Cluster" uses `Balancer.cluster`; an external frontend with it always masquerades. Policy "Local" uses
  `Balancer.local` and keeps the source; but clients inside (pods, the node itself) take the short cut to
  `Balancer.cluster`, and the node itself is masqueraded.
* Where the backends of a frontend's policy are empty, packets are refused if `any_backend` is False (nobody serves
  anywhere), else dropped (somebody does, elsewhere).
"""

from typing import Literal

from clew.base.addresses import Family
from clew.base.errors import Problem
from clew.base.value import Value

Protocol = Literal["TCP", "UDP", "SCTP"]
Policy = Literal["Cluster", "Local"]
Place = Literal["here", "elsewhere", "unknown"]  # unknown: nobody said on which node it is


class Backend(Value):
    """One address and port that answers. Sorts by both."""

    address: str
    port: int
    place: Place


class Frontend(Value):
    address: str  # "": every address of this node on which node ports are open
    protocol: Protocol
    port: int
    scope: Literal["internal", "external"]
    policy: Policy
    sources: tuple[str, ...] | None  # prefixes that may use it, disjoint; None: anyone
    field: str  # of the origin, from which it came: "spec.externalIPs[0]"

    @property
    def claim(self) -> tuple[str, Protocol, int]:
        """What only one service of a family can have."""
        return self.address, self.protocol, self.port


class Balancer(Value):
    """One port of one service in one family."""

    origin: str  # "default/web:http"; without the colon where the port has no name
    family: Family
    affinity: int  # seconds during which a client keeps its backend; 0: none
    cluster: tuple[Backend, ...]
    local: tuple[Backend, ...]
    others: tuple[Backend, ...]  # that get nothing new from here, but still serve what they have
    any_backend: bool
    frontends: tuple[Frontend, ...]
    health_port: int = 0  # on which this node tells load balancers about the service; 0: none


class HealthCheck(Value):
    """What load balancers are told of one service by this node."""

    port: int
    backends: int  # ready and here


class Balancing(Value):
    """All of one service, and what is wrong with it."""

    balancers: tuple[Balancer, ...]
    problems: tuple[Problem, ...]
    health: HealthCheck | None = None


NOTHING = Balancing((), ())
