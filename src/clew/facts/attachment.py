"""A pod's place on the node's network: the one fact that no API server holds.

A runtime's ADD makes it, DEL ends it; in between it is durable (node/journal.py). It is complete in itself, so that
a restarted agent knows what it had promised before it has spoken to anybody.
"""

from clew.base.value import Value


class PodRef(Value):
    """Whose sandbox it is, as the runtime said in CNI_ARGS; empty where it did not say."""

    namespace: str = ""
    name: str = ""
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.name else ""


class Attachment(Value):
    container: str
    ifname: str  # the interface's name inside the pod
    network: str  # the network configuration's name
    netns: str  # the path that the runtime gave; it may mean nothing in the agent's own file system
    addresses: tuple[str, ...]  # with the length of the node's range: "10.244.1.5/24"; at most one a family
    mtu: int  # bytes; a pod keeps what it was made with
    pod: PodRef = PodRef()

    @property
    def key(self) -> tuple[str, str]:
        """CNI's own: container and interface."""
        return self.container, self.ifname

    @property
    def origin(self) -> str:
        return f"Pod {self.pod}" if self.pod.name else f"container {self.container[:12]}"
