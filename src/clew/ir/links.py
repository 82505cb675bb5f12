"""How pods of one node hang together, in neutral words: a switch with the gateways on it, a port a pod, host ports.

Made by compile/links.py, rendered by dataplane/netlink. Addresses are text with their prefix length; MTU is in bytes.
"""

from typing import Literal

from clew.base.value import Value


class Switch(Value):
    """What the node's pods are plugged into; it carries their gateways."""

    gateways: tuple[str, ...]  # "10.244.1.1/24", one a family
    mtu: int
    origin: str


class PodPort(Value):
    """One pod's plug."""

    container: str
    ifname: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]  # bare addresses, one a family, in the order of `addresses`
    mtu: int
    origin: str
    mac: str = ""  # "": by rule
    routed: bool = False  # plugged into nothing: the node has a route to each of its addresses

    @property
    def key(self) -> tuple[str, str]:
        return self.container, self.ifname


class HostPort(Value):
    """What arrives at a port of the node's own addresses goes to a port of a pod; the source stays as it is."""

    protocol: Literal["TCP", "UDP", "SCTP"]
    family: Literal[4, 6]
    host_ip: str  # "": every address of the node in this family
    host_port: int
    address: str  # the pod's, bare
    port: int
    origin: str


class Rate(Value):
    """How much may pass."""

    bits: int  # a second
    burst: int = 0  # bits at once; 0: nobody chose


class PodRates(Value):
    """How fast one pod may receive and send; None: as fast as it goes."""

    to_pod: Rate | None
    from_pod: Rate | None
    mtu: int
    origin: str
