"""The agent's configuration as the pod network is told it."""

from clew.base.value import Value
from clew.compile.routes import DIRECT, Between
from clew.compile.routing import Routing
from clew.facts.attachment import Linking


class NetworkSettings(Value):
    """From the agent's configuration."""

    node: str  # the name of this agent's Node
    cluster_cidrs: tuple[str, ...] = ()  # the ranges of all pods; masquerade leaves them alone
    mtu: int = 0  # of pods; 0: what the way to the other nodes leaves
    masquerade: bool = True
    plain: tuple[str, ...] = ()  # networks outside that see pods as they are
    between: Between = DIRECT
    linking: Linking = "bridge"  # of pods that come from now on
    routing: Routing | None = None  # by which routes to other nodes' pods are told; None: they follow from the Nodes
    probing: bool = True  # whether the paths to other nodes are asked what they take
