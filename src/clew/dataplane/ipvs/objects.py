"""What one family's services are in IPVS mode: virtual servers, addresses of kube-ipvs0, and entries of ipsets.

Names of sets, chains and of the device are kube-proxy's. Values only; rendered by render, kept by programme, carried
into the kernel by apply, read by simulate and explain.
"""

from collections.abc import Mapping
from typing import Literal

from clew.base.addresses import Family
from clew.base.value import Value
from clew.base.xtables import Ruleset
from clew.ir.balancing import Protocol

DEVICE = "kube-ipvs0"
NAME_LENGTH = 31  # of a set; kube-proxy cuts longer ones off

VirtualKey = tuple[Protocol, str, int]
At = tuple[str, int]  # a real server's address and port
Kind = Literal["hash:ip", "hash:net", "hash:ip,port", "hash:ip,port,ip", "hash:ip,port,net", "bitmap:port"]
Entry = tuple[str, str]  # set's name without the family, and the entry as ipset prints it


class VirtualServer(Value):
    """How a virtual server chooses. `persistence`: seconds for which a client keeps its choice; 0: it does not."""

    scheduler: str
    persistence: int = 0
    port_in_hash: bool = False


class Answering(Value):
    """A virtual server with those behind it, and the service port it is there for."""

    server: VirtualServer
    reals: tuple[At, ...]
    origin: str


class Part(Value):
    """All that one service needs in one family."""

    servers: Mapping[VirtualKey, Answering]
    addresses: frozenset[str]  # to be carried by the device
    entries: frozenset[Entry]


class State(Value):
    """Everything that decides about packets to services, as wanted or as read back. Sets under their full names."""

    rules: Ruleset
    sets: Mapping[str, frozenset[str]]
    addresses: frozenset[str]
    servers: Mapping[VirtualKey, VirtualServer]
    reals: Mapping[VirtualKey, Mapping[At, int]]  # weights


KINDS: Mapping[str, Kind] = {
    "KUBE-CLUSTER-IP": "hash:ip,port",
    "KUBE-LOOP-BACK": "hash:ip,port,ip",
    "KUBE-EXTERNAL-IP": "hash:ip,port",
    "KUBE-EXTERNAL-IP-LOCAL": "hash:ip,port",
    "KUBE-LOAD-BALANCER": "hash:ip,port",
    "KUBE-LOAD-BALANCER-LOCAL": "hash:ip,port",
    "KUBE-LOAD-BALANCER-FW": "hash:ip,port",
    "KUBE-LOAD-BALANCER-SOURCE-CIDR": "hash:ip,port,net",
    "KUBE-NODE-PORT-TCP": "bitmap:port",
    "KUBE-NODE-PORT-LOCAL-TCP": "bitmap:port",
    "KUBE-NODE-PORT-UDP": "bitmap:port",
    "KUBE-NODE-PORT-LOCAL-UDP": "bitmap:port",
    "KUBE-NODE-PORT-SCTP-HASH": "hash:ip,port",
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH": "hash:ip,port",
    "KUBE-IPVS-IPS": "hash:ip",
    # Four that kube-proxy lacks: what is served on other nodes only, for everybody and for those beyond the pods; what
    # nobody serves at an address that the node carries anyway; and where cluster addresses come from
    "KUBE-DROP": "hash:ip,port",
    "KUBE-DROP-OUTSIDE": "hash:ip,port",
    "KUBE-REFUSE": "hash:ip,port",
    "KUBE-SERVICE-RANGE": "hash:net",
}
ADDRESSED = (
    "KUBE-CLUSTER-IP",
    "KUBE-EXTERNAL-IP",
    "KUBE-EXTERNAL-IP-LOCAL",
    "KUBE-LOAD-BALANCER",
    "KUBE-NODE-PORT-SCTP-HASH",
    "KUBE-REFUSE",
)  # sets whose entries name virtual servers
NODE_PORTS: Mapping[Protocol, tuple[str, str]] = {
    "TCP": ("KUBE-NODE-PORT-TCP", "KUBE-NODE-PORT-LOCAL-TCP"),
    "UDP": ("KUBE-NODE-PORT-UDP", "KUBE-NODE-PORT-LOCAL-UDP"),
    "SCTP": ("KUBE-NODE-PORT-SCTP-HASH", "KUBE-NODE-PORT-LOCAL-SCTP-HASH"),
}


def set_name(name: str, family: Family) -> str:
    """The name that a set has in a family: ipset has one room for both."""
    full = name if family == 4 else name.replace("KUBE-", "KUBE-6-", 1)
    return full[:NAME_LENGTH]


def place(key: VirtualKey) -> str:
    """A virtual server as an entry of a hash:ip,port."""
    protocol, address, port = key
    return f"{address},{protocol.lower()}:{port}"
