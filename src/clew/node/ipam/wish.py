"""What a runtime, and the Pod behind it, ask for one attachment. Made by node/cni_calls.py."""

from collections.abc import Mapping

from clew.base.value import Value
from clew.facts.attachment import Bandwidth, Linking, PodRef, PortMapping


class Wish(Value):
    container: str
    ifname: str
    network: str
    netns: str
    mtu: int
    pod: PodRef = PodRef()
    ips: tuple[str, ...] = ()  # bare; the choice for the family of each
    ips_field: str = "ips"  # who chose them: the field that a refusal names
    ports: tuple[PortMapping, ...] = ()
    mac: str = ""
    linking: Linking = "bridge"
    bandwidth: Bandwidth = Bandwidth()
    pools: Mapping[int, tuple[str, ...]] = {}  # by family: the IPPools to take from, where somebody says so
    namespace: Mapping[str, str] = {}  # labels of the Pod's Namespace

    @property
    def key(self) -> tuple[str, str]:
        return self.container, self.ifname
