"""A pod's place on the node's network: the one fact that no API server holds.

A runtime's ADD makes it, DEL ends it; in between it is durable (node/journal.py). It is complete in itself, so that
a restarted agent knows what it had promised before it has spoken to anybody.
"""

from typing import Literal

from clew.base.addresses import Network, network, overlap, with_port
from clew.base.value import Value

Transport = Literal["TCP", "UDP", "SCTP"]
Linking = Literal["bridge", "routed"]
ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - Kubernetes' word for every address, nothing is bound


class PodRef(Value):
    """Whose sandbox it is, as the runtime said in CNI_ARGS; empty where it did not say."""

    namespace: str = ""
    name: str = ""
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.name else ""


class PortMapping(Value):
    """A port of the node that leads to one of the pod's: CNI's capability `portMappings`, a container's `hostPort`."""

    host_port: int
    container_port: int
    protocol: Transport = "TCP"
    host_ip: str = ""  # "": every address of the node; "0.0.0.0" and "::": every one of that family

    def clashes(self, other: "PortMapping") -> bool:
        """Whether one packet could be meant for both."""
        same = (self.protocol, self.host_port) == (other.protocol, other.host_port)
        return same and any(
            overlap(mine, theirs) for mine in _places(self.host_ip) for theirs in _places(other.host_ip)
        )

    def __str__(self) -> str:
        return f"{with_port(self.host_ip, self.host_port) if self.host_ip else self.host_port}/{self.protocol}"


def _places(host_ip: str) -> tuple[Network, ...]:
    """The node's addresses that a `host_ip` means."""
    if not host_ip:
        return network("0.0.0.0/0"), network("::/0")
    return (network(f"{host_ip}/0" if host_ip in ANY else host_ip),)


class Bandwidth(Value):
    """CNI's capability `bandwidth`, from the pod's point of view: bits a second, bits at once. 0: no limit."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


class Attachment(Value):
    container: str
    ifname: str  # the interface's name inside the pod
    network: str  # the network configuration's name
    netns: str  # the path that the runtime gave; it may mean nothing in the agent's own file system
    addresses: tuple[str, ...]  # with the length of the node's range: "10.244.1.5/24"; at most one a family
    mtu: int  # bytes; a pod keeps what it was made with
    pod: PodRef = PodRef()
    ports: tuple[PortMapping, ...] = ()
    mac: str = ""  # of the pod's end, where the runtime chose it
    linking: Linking = "bridge"  # how it was connected, and stays
    bandwidth: Bandwidth = Bandwidth()

    @property
    def key(self) -> tuple[str, str]:
        """CNI's own: container and interface."""
        return self.container, self.ifname

    @property
    def origin(self) -> str:
        return f"Pod {self.pod}" if self.pod.name else f"container {self.container[:12]}"
