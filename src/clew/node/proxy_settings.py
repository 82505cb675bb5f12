"""How the service proxy of a node was asked to be, in its own words; app/agent fills it from the configuration file."""

from collections.abc import Iterable
from ipaddress import collapse_addresses, ip_address, ip_network
from typing import Any

from clew.base.addresses import Family
from clew.base.value import Value
from clew.ir.marks import MASQUERADE
from clew.ir.proxying import IPVS, IpvsSettings, Settings

LEAST = 0.01  # seconds between syncs while changes come thick
PERIOD = 30.0  # between looks at what others did to our rules; kube-proxy's sync period
PRIMARY = "primary"  # among node_port_addresses: the node's own first address of each family
UNSPECIFIED = {4: "0.0.0.0", 6: "::"}  # noqa: S104  nothing is bound: no packet is ever for this address


class ProxySettings(Value):
    """Prefixes of both families stand in one tuple."""

    node: str
    families: tuple[Family, ...] = (4, 6)
    pod_cidrs: tuple[str, ...] = ()  # of all pods of the cluster (clusterCIDR)
    service_cidrs: tuple[str, ...] = ()
    primary_address: str = ""  # comes before those that the Node has; "": they are all
    node_port_addresses: tuple[str, ...] = ()  # (): every address of the node but loopback; "primary" is understood
    masquerade_all: bool = False
    masquerade_mark: int = MASQUERADE.mask
    of_node_cidr: bool = False  # detectLocalMode NodeCIDR: inside is what comes from this node's own pods
    pod_interface: str = ""  # detectLocalMode BridgeInterface "cbr0", InterfaceNamePrefix "veth*"
    localhost_node_ports: bool = False
    tcp_be_liberal: bool = False
    ipvs: IpvsSettings = IPVS
    period: float = PERIOD
    least: float = LEAST

    def of(
        self,
        family: Family,
        addresses: Iterable[str] = (),
        node_cidrs: Iterable[str] = (),
        service_cidrs: Iterable[str] | None = None,
    ) -> Settings:
        """What the rules of one family depend on; `addresses` and `node_cidrs` (of its pods) are the node's.

        `service_cidrs`: the cluster's as they are by now; None: as configured.

        ValueError: a prefix is none.
        """
        listed = (*filter(None, (self.primary_address,)), *addresses)
        return Settings(
            family=family,
            pod_cidrs=_prefixes(family, node_cidrs if self.of_node_cidr else self.pod_cidrs),
            service_cidrs=_prefixes(family, self.service_cidrs if service_cidrs is None else service_cidrs),
            node_port_addresses=self._node_ports(family, listed),
            masquerade_all=self.masquerade_all,
            node_addresses=tuple(dict.fromkeys(str(ip_address(each)) for each in _of_family(family, listed))),
            pod_interface=self.pod_interface,
            masquerade_mark=self.masquerade_mark,
            localhost_node_ports=self.localhost_node_ports,
            tcp_be_liberal=self.tcp_be_liberal,
            ipvs=self.ipvs,
        )

    def _node_ports(self, family: Family, addresses: Iterable[str]) -> tuple[str, ...]:
        named = [each for each in self.node_port_addresses if each != PRIMARY]
        if PRIMARY in self.node_port_addresses:
            mine = _of_family(family, addresses)
            named.append(mine[0] if mine else UNSPECIFIED[family])
        prefixes = _prefixes(family, named)
        return () if any(prefix.endswith("/0") for prefix in prefixes) else prefixes


def _of_family(family: Family, texts: Iterable[str]) -> list[str]:
    return [each for each in texts if (":" in each) == (family == 6)]


def _prefixes(family: Family, texts: Iterable[str]) -> tuple[str, ...]:
    """Those of a family, disjoint, in order, as nft spells them (a single address without its length)."""
    networks: list[Any] = [ip_network(text, strict=False) for text in _of_family(family, texts)]
    return tuple(str(each).removesuffix(f"/{each.max_prefixlen}") for each in collapse_addresses(networks))
