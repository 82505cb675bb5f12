"""Whatever Nodes say, what follows from them can be made: one object that is wrong must end no agent."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clew.compile import ipsec, routing
from clew.compile.masquerade import masquerade
from clew.compile.ranges import claimed
from clew.compile.routes import Between, routes, tunnels
from clew.dataplane.bird import render as bird
from clew.dataplane.masquerade import render as nat
from clew.dataplane.overlay import render as overlay
from clew.facts.node import from_api
from clew.node.ipam.pod_cidr import PodCidrIpam

RANGES = [
    "10.244.1.0/24", "10.244.2.0/24", "10.244.2.0/25", "10.244.2.5/32", "fd00:1::/64", "fd00::/16", "172.30.0.0/24",
    "10.0.0.0/8", "10.244.3.0/31", "::/0", "0.0.0.0/0", "224.0.0.0/8", "10.244.9.9/24", "", "x", "10.244.1.0/255.0.0.0",
]  # fmt: skip
ADDRESSES = [
    "172.30.0.11", "172.30.0.12", "172.30.1.13", "fd00:172::11", "FD00:172:0::12", "::ffff:172.30.0.12", "10.244.1.5",
    "x", "", "0.0.0.0", "255.255.255.255", "fe80::1", "::1", "2001:db8::1%eth0", "172.30.0.12/24", "node.example",
]  # fmt: skip
KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
EPOCH = "0" * 32
TOKEN = "3:" + "a" * 16


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=3, unique=True)


@st.composite
def node(draw: st.DrawFn, name: str) -> dict[str, Any]:
    said = {
        "clew.dev/wireguard-public-key": draw(st.sampled_from(["", "x", KEY, KEY.replace("x", "y")])),
        "clew.dev/ipsec": draw(st.sampled_from(["", "x", EPOCH, f"{EPOCH} {TOKEN}"])),
    }
    kinds = st.sampled_from(["InternalIP", "InternalIP", "ExternalIP", "Hostname"])
    return {
        "metadata": {"name": name, "annotations": said},
        "spec": {"podCIDRs": draw(some(RANGES))},
        "status": {"addresses": [{"type": draw(kinds), "address": each} for each in draw(some(ADDRESSES))]},
    }


@settings(max_examples=150, deadline=None)
@given(
    listed=st.tuples(*(node(name) for name in ("one", "aaa", "two", "n" * 200))),
    encapsulation=st.sampled_from([None, "vxlan", "ipip", "wireguard", "ipsec"]),
    subnets=st.sampled_from([(), ("172.30.0.11/24",), ("172.30.0.11/24", "fd00:172::11/64")]),
)
def test_what_follows_can_be_made(listed: Any, encapsulation: Any, subnets: tuple[str, ...]) -> None:
    nodes = [from_api(each) for each in listed]
    own, ring = nodes[0], ipsec.Ring(EPOCH, keys=(TOKEN,))
    between = Between(encapsulation, bool(subnets), subnets, port=1, key=KEY, ring=ring, paths={"172.30.0.12": 900})
    layout = PodCidrIpam().layout(nodes, own, [])
    everyone, _ = claimed(layout.nodes, "one")
    ways, _ = routes(everyone, "one", between)
    ranges = [cidr for each in everyone for cidr in each.pod_cidrs]
    assert len(ranges) == len(set(ranges))
    assert not {way.via for way in ways.values()} & {*own.internal_ips}, "no way to another node ends here"
    if not layout.families or (encapsulation and not own.internal_ips):
        return  # the node is not ready
    overlay.overlay(tunnels(own, layout.own, everyone, ways.values(), between, 1500))
    nat.script(nat.table(masquerade(own, layout.hidden, everyone, ["10.244.0.0/16"])))
    for protocol in ("bgp", "ospf"):
        asked = routing.Routing(protocol, reflectors=("two",) * bool(subnets))
        bird.configuration(routing.speaker(own, everyone, layout.own, asked, ["10.244.0.0/16"], ["eth0"]))
