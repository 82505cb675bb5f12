"""What the rules of all services of one node depend on beside the services: one value a family, the same in every mode.

Made by node/proxy_settings from the configuration and the Node, read by the dataplanes of services. A field that only
some modes can act on says so; the others have nothing that it could change.
"""

from typing import Literal

import msgspec

from clew.base.addresses import Family
from clew.base.value import Value
from clew.ir.marks import MASQUERADE

IpWord = Literal["ip", "ip6"]
Scheduler = Literal["rr", "wrr", "lc", "wlc", "sh", "dh", "sed", "nq", "mh", "lblc", "lblcr", "ovf", "fo"]


class IpvsSettings(Value):
    """KubeProxyConfiguration's section ipvs. Times are seconds; 0 leaves the kernel's own."""

    scheduler: Scheduler = "rr"
    strict_arp: bool = False
    exclude_cidrs: tuple[str, ...] = ()  # virtual servers in them belong to somebody else; both families
    tcp_timeout: float = 0.0
    tcp_fin_timeout: float = 0.0
    udp_timeout: float = 0.0


IPVS = IpvsSettings()


class Settings(Value):
    """Prefixes and addresses are of `family`, in canonical spelling, a single address without its length."""

    family: Family
    pod_cidrs: tuple[str, ...] = ()  # of all pods of the cluster; () where nobody knows: then nothing is "inside"
    service_cidrs: tuple[str, ...] = ()  # packets to addresses in here that no service has are dropped
    node_port_addresses: tuple[str, ...] = ()  # prefixes of node addresses on which node ports are open; (): all
    masquerade_all: bool = False
    node_addresses: tuple[str, ...] = ()  # the node's own, as the cluster knows them, the primary first
    pod_interface: str = ""  # what is inside comes from here, instead of pod_cidrs: "cbr0", or with a star "veth*"
    masquerade_mark: int = MASQUERADE.mask  # one bit
    localhost_node_ports: bool = False  # node ports on 127.0.0.1 too; iptables only
    tcp_be_liberal: bool = False  # odd TCP is valid for connection tracking: none is dropped; iptables only
    ipvs: IpvsSettings = IPVS

    @property
    def ip(self) -> IpWord:
        return "ip6" if self.family == 6 else "ip"

    @property
    def of_services(self) -> "Settings":
        """As far as the rules of single services depend on them: ranges come and go without touching these."""
        return msgspec.structs.replace(self, service_cidrs=())
