"""What a runtime, and the Pod behind it, ask for one attachment. Made by node/cni_calls.py."""

from collections.abc import Container, Mapping

from clew.base.addresses import address, family_of
from clew.base.value import Value
from clew.compile.ipam import UnsuitableError
from clew.compile.stretches import Part, hits
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
    ranges: Mapping[int, Part] = {}  # by family: what a runtime named of the ranges that are to be had
    namespace: Mapping[str, str] = {}  # labels of the Pod's Namespace

    @property
    def key(self) -> tuple[str, str]:
        return self.container, self.ifname

    def refuse_beyond(self, families: Container[int]) -> None:
        """UnsuitableError for ranges of a family that is not to be had, and for a chosen address that is in none."""
        for family, asked in self.ranges.items():
            if family not in families:
                raise UnsuitableError(f"{asked.text}: this pod gets no address of IPv{family} on this node")
        for ip in self.ips:
            part = self.ranges.get(family_of(ip))
            if part is not None and not hits(part.stretches, int(address(ip)), int(address(ip))):
                raise UnsuitableError(f"{self.ips_field}: {ip} is not in {part.text}")
