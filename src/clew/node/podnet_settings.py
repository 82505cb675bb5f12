"""What the pod network is made from: the agent's configuration as a value, and the planes that change the kernel."""

from typing import NamedTuple

from clew.base.value import Value
from clew.compile.routes import DIRECT, Between
from clew.compile.routing import Routing
from clew.dataplane.bandwidth.apply import BandwidthPlane
from clew.dataplane.bird.apply import BirdPlane
from clew.dataplane.hostports.apply import HostPortPlane
from clew.dataplane.masquerade.apply import MasqueradePlane
from clew.dataplane.netlink.apply import NetlinkPlane
from clew.dataplane.overlay.apply import OverlayPlane
from clew.facts.attachment import Linking
from clew.node.ipsec import Identity


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


class Planes(NamedTuple):
    """The node's kernel, as far as the pod network changes it, and the keys that go into it."""

    links: NetlinkPlane
    tunnels: OverlayPlane
    identity: Identity
    router: BirdPlane
    host_ports: HostPortPlane
    nat: MasqueradePlane
    rates: BandwidthPlane
