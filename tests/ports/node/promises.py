"""What a pod network promises, shown by packets, whatever leads between nodes and however pods hang on theirs."""

from typing import Any

from tests.ports.node.crossing import addresses, answers, everyone_sees_everyone, wire
from tests.ports.node.test_host_ports import MAPPED, mapped_pod, source_seen
from tests.ports.node.test_mtu import way

OUTSIDE = {4: "172.30.0.100", 6: "fd00:172:30::64"}
TUNNELS = frozenset({"vxlan", "ipip", "wireguard", "ipsec"})
KEYED = frozenset({"wireguard", "ipsec"})  # both families between the nodes' first addresses


def keeps_them_all(lab: Any, tools: Any, nodes: list[Any], backend: str, overhead: int) -> None:
    """Sources stay, what is to be encapsulated is and nothing else, the MTU is true, ports and host networks answer.

    `nodes`: two, whose agents know of each other. `overhead`: bytes of the largest header.
    """
    one, two = nodes
    a, web, c = one.pod("a"), mapped_pod(one, "web", MAPPED), two.pod("c")
    if backend in KEYED:
        tools.eventually(lambda: answers(tools, a, c) and answers(tools, c, a), "each knows the other's key")
    with wire(lab.fabric) as between:
        everyone_sees_everyone(lab, tools, one, two, a, c)
        seen = between.seen()
    for at, family in enumerate(lab.families):
        near, far = addresses(one)[at], addresses(two)[at]
        if backend in TUNNELS:
            assert (addresses(one)[0] if backend in KEYED else near, backend) in {(s, how) for s, _, how in seen}
            assert not {packet for packet in seen if {*a.ips, *c.ips} & {packet[0], packet[1]}}
        else:
            assert (a.ips[at], c.ips[at], "") in seen
            assert not any(how for _, _, how in seen)
        with way(a, c, at) as path:
            tools.eventually(lambda: path.passes(1500 - overhead), "a packet of exactly the MTU, not to be cut")
            assert path.known == 1500 - overhead
            assert not path.passes(1500 - overhead + 1)
        assert source_seen(lab.outside, web, near) == OUTSIDE[family], "a host port, from outside"
        assert source_seen(c.ns, web, near) == c.ips[at], "and from another node's pod"
        assert tools.seen_source(lab.outside, two.ns, far) == OUTSIDE[family], "a pod on the host's network"
        assert tools.seen_source(two.ns, web.ns, web.ips[at]) == far, "and what it asks"
        assert tools.seen_source(a.ns, lab.outside, OUTSIDE[family]) == near, "out of the cluster as the node"
