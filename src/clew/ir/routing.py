"""What a node's router says and to whom, where routes to pods are told by a routing protocol. Neutral words."""

from collections.abc import Mapping
from typing import Literal

from clew.base.value import Value

RoutingProtocol = Literal["bgp", "ospf"]


class Neighbour(Value):
    """Another router. `client`: we tell it what we hear from others (RFC 4456)."""

    name: str  # of the node, or of the peer
    address: str
    asn: int
    client: bool = False
    password: str = ""  # RFC 2385


class Speaker(Value):
    """One node's router: what it announces, what it believes, and its neighbours."""

    protocol: RoutingProtocol
    router_id: str  # an IPv4 address in form, whatever the families
    asn: int
    announced: tuple[str, ...]  # prefixes of this node's pods
    believed: tuple[str, ...]  # only what lies in these is taken from others
    addresses: tuple[str, ...]  # the node's own, one a family
    links: tuple[str, ...]  # that carry these: where OSPF looks for neighbours
    neighbours: tuple[Neighbour, ...]  # BGP
    origin: str
    elsewhere: tuple[str, ...] = ()  # of what is believed, what tunnels lead to: it is no matter of the router's
    narrow: Mapping[str, int] = {}  # by destination the bytes that the path takes, where less than the link's
