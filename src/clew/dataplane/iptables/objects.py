"""kube-proxy's chains: their names, which of them are ours, and the words of which their rules are made. Pure.

A rule is text as `iptables-save` prints it behind `-A CHAIN` (see base/xtables), so what is rendered equals what is
read back. Sources: k8s.io/kubernetes pkg/proxy/iptables/proxier.go.
"""

from base64 import b32encode
from hashlib import sha256
from ipaddress import ip_network
from typing import Literal

from clew.base.value import Value
from clew.base.xtables import comment

TableName = Literal["nat", "filter", "mangle"]
ChainKey = tuple[TableName, str]
RuleKey = tuple[TableName, str, str]  # table, chain, rule

SERVICES, NODE_PORTS, EXTERNAL_SERVICES = "KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES"
PROXY_FIREWALL, FIREWALL, FORWARD = "KUBE-PROXY-FIREWALL", "KUBE-FIREWALL", "KUBE-FORWARD"
POSTROUTING, MARK_MASQ, CANARY = "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-PROXY-CANARY"
OFF_CLUSTER = "KUBE-MASQ-OFF-CLUSTER"  # ours alone: where the pods have more than one range

HUBS: frozenset[ChainKey] = frozenset(
    {
        ("nat", SERVICES),
        ("nat", NODE_PORTS),
        ("filter", SERVICES),
        ("filter", EXTERNAL_SERVICES),
        ("filter", NODE_PORTS),
        ("filter", PROXY_FIREWALL),
    }
)  # chains to which every service adds rules of its own
FIXED: frozenset[ChainKey] = frozenset(
    {
        ("nat", POSTROUTING),
        ("nat", MARK_MASQ),
        ("nat", OFF_CLUSTER),
        ("filter", FORWARD),
        ("filter", FIREWALL),
        ("nat", CANARY),
        ("filter", CANARY),
        ("mangle", CANARY),
    }
)
OF_SERVICES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-")  # the last: of old ones
SIGNS: frozenset[ChainKey] = frozenset({("nat", CANARY), ("mangle", CANARY), ("filter", EXTERNAL_SERVICES)})
SHARED: frozenset[ChainKey] = frozenset(
    {("nat", SERVICES), ("nat", POSTROUTING), ("nat", MARK_MASQ), ("filter", FORWARD)}
)  # chains that the mode ipvs has under the same names; it is there where KUBE-SERVICES asks its sets
KUBELET_SIGN: ChainKey = ("mangle", "KUBE-KUBELET-CANARY")  # where it is, KUBE-FIREWALL is the kubelet's too
IPVS_SIGNS = ("--match-set KUBE-CLUSTER-IP", "--match-set KUBE-6-CLUSTER-IP")  # one a family
BUILT_IN = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})


class Place(Value):
    """Where among a hub's rules one stands, and how often: the tail comes after what services add."""

    end: Literal["head", "tail"] = "head"
    times: int = 1


HEAD, TAIL = Place("head"), Place("tail")


def ours(table: str, chain: str) -> bool:
    """Whether the iptables mode owns a chain, whoever wrote it."""
    key = (table, chain)
    return key in HUBS or key in FIXED or (table == "nat" and chain.startswith(OF_SERVICES))


def target(rule: str) -> str:
    """Where a rule leads, without reading the rest of it."""
    return rule.rpartition("-j ")[2].partition(" ")[0]


def chain_name(kind: str, port: str, protocol: str, endpoint: str = "") -> str:
    """`kind` SVC, SVL, EXT, FW or SEP; `port` "default/web:http"; hashed as kube-proxy does."""
    digest = sha256(f"{port}{protocol.lower()}{endpoint}".encode()).digest()
    return f"KUBE-{kind}-{b32encode(digest)[:16].decode()}"


def rule(*words: str) -> str:
    """Words in iptables-save's order; empty ones are left out."""
    return " ".join(word for word in words if word)


def remark(text: str) -> str:
    return f"-m comment {comment(text)}" if text else ""


def source(prefix: str, *, negated: bool = False) -> str:
    return f"{'! ' if negated else ''}-s {_whole(prefix)}"


def destination(prefix: str, *, negated: bool = False) -> str:
    return f"{'! ' if negated else ''}-d {_whole(prefix)}"


def _whole(prefix: str) -> str:
    """With its length, as iptables-save prints single addresses too."""
    if "/" in prefix:
        return str(ip_network(prefix, strict=False))
    return f"{prefix}/{128 if ':' in prefix else 32}"


def probability(remaining: int) -> str:
    """One in so many, with the 31 bits that the kernel keeps of it."""
    return f"-m statistic --mode random --probability {round(0x80000000 / remaining) / 0x80000000:.11f}"
