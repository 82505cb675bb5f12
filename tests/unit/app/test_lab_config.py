"""A lab's shape: what is taken, and that a wrong one is refused by the field's path, with a remedy, in one line."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from clew.app.lab_config import Flags, amended, read_spec
from clew.app.lab_spec import LabSpec, differences
from clew.base.errors import UserError

TWO = """\
subnets: ["10.1.0.0/24,fd01::/64", "10.2.0.0/24,fd02::/64"]
nodes: [{name: a}, {name: b, subnet: subnet-2}]
"""
FULL = """\
apiVersion: clew.dev/v1alpha1
kind: Lab
ipFamily: dual
podCIDR: 10.0.0.0/16,fd00:1::/48
subnets:
- name: east
  cidr: 172.30.0.0/24,fd00:172:30::/64
- {name: west, cidr: "172.31.0.0/24,fd00:172:31::/64", mtu: 9000}
nodes:
- plain
- name: big
  subnet: west
  zone: zone-b
  labels: {disk: ssd}
  taints: [{key: only, value: batch, effect: NoSchedule}]
  maxPods: 30
network: {backend: vxlan, crossSubnet: true}
proxy: {mode: nftables, nodePortAddresses: [primary]}
names: {example.com: [192.0.2.1, "2001:db8::1"]}
"""


def spec(folder: Path, text: str, flags: Flags = Flags()) -> LabSpec:  # noqa: B008 - a value
    path = folder / "lab.yaml"
    path.write_text(text)
    return read_spec("clew", path, flags)


def test_the_usual_lab_has_three_nodes_and_both_families_have_their_ranges() -> None:
    made = read_spec("clew", None, Flags(ip_family="dual"))
    assert made.node_names == ("node-1", "node-2", "node-3")
    assert made.pod_cidrs == ("10.244.0.0/16", "fd00:10:244::/48")
    assert [host.ips for host in made.fabric().nodes][:1] == [("172.30.0.11", "fd00:172:30::b")]


def test_every_field_arrives(tmp_path: Path) -> None:
    made = spec(tmp_path, FULL)
    plain, big = made.nodes
    assert (plain.subnet, plain.max_pods, big.subnet, big.max_pods) == ("east", 110, "west", 30)
    assert big.labels == (("topology.kubernetes.io/zone", "zone-b"), ("disk", "ssd"))
    assert [(each.key, each.value, each.effect) for each in big.taints] == [("only", "batch", "NoSchedule")]
    assert (made.network.backend, made.network.cross_subnet) == ("vxlan", True)
    assert made.names == {"example.com": ("192.0.2.1", "2001:db8::1")}
    fabric = made.fabric()
    assert fabric.host("big").addresses == ("172.31.0.11/24", "fd00:172:31::b/64")
    assert fabric.host("big").gateways == ("172.31.0.1", "fd00:172:31::1")
    assert [switch.mtu for switch in fabric.switches] == [1500, 9000]
    assert fabric.outside.ips == ("172.30.0.100", "fd00:172:30::64")


def test_a_spec_is_stored_and_read_again(tmp_path: Path) -> None:
    made = spec(tmp_path, FULL)
    assert msgspec.json.decode(msgspec.json.encode(made), type=LabSpec) == made


def test_flags_go_before_the_file_field_by_field(tmp_path: Path) -> None:
    """--proxy-mode once threw the file's whole proxy section away."""
    made = spec(tmp_path, FULL, Flags(nodes=2, network="ipip", proxy_mode="nftables"))
    assert made.node_names == ("node-1", "node-2")
    assert (made.network.backend, made.network.cross_subnet) == ("ipip", True)
    assert made.proxy == {"mode": "nftables", "nodePortAddresses": ["primary"]}


def test_a_lab_that_is_there_keeps_what_flags_do_not_say(tmp_path: Path) -> None:
    """`clew up --name two --network host-gw` once wanted three nodes, and the file's VNI was forgotten."""
    there = spec(tmp_path, "kind: Lab\nnodes: 2\nipFamily: dual\nnetwork: {backend: vxlan, vni: 7, links: routed}")
    changed = amended(there, Flags(network="wireguard"))
    assert differences(there, changed) == ["network"]
    assert changed.network == replace(there.network, backend="wireguard")
    assert amended(there, Flags(nodes=2, network="vxlan", ip_family="dual")) == there
    assert differences(there, amended(there, Flags(nodes=3, ip_family="ipv6"))) == ["nodes", "family"]
    assert amended(there, Flags(proxy_mode="iptables")).proxy == {"mode": "iptables"}
    with pytest.raises(UserError, match="does not reach over the router"):
        amended(spec(tmp_path, FULL.replace("crossSubnet: true", "crossSubnet: false")), Flags(network="host-gw"))
    with pytest.raises(UserError, match=r"network.backend: 'x' is not known"):
        amended(there, Flags(network="x"))


def test_what_differs_is_named(tmp_path: Path) -> None:
    assert differences(spec(tmp_path, FULL), spec(tmp_path, FULL, Flags(network="wireguard"))) == ["network"]
    assert not differences(spec(tmp_path, FULL), spec(tmp_path, FULL))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("nodes: ['../../etc/x']", "nodes[0]: '../../etc/x' is no node name"),
        ("nodes: [a, a]", "nodes[1]: 'a' is there twice"),
        ("nodes: [outside]", "nodes[0]: 'outside'"),
        ("nodes: [daemon]", "nodes[0]: 'daemon'"),
        ("nodes: []", "nodes: 0 entries"),
        ("nodes: 0", "nodes: 0 is out of range"),
        ("nodes: true", "nodes: wrong type"),
        ("nodes: [{name: a, maxpods: 3}]", "nodes[0].maxpods: no such field (did you mean maxPods?)"),
        ("nodes: [{name: a, maxPods: '3'}]", "nodes[0].maxPods: wrong type (expected int, got str)"),
        ("nodes: [{name: a, maxPods: 0}]", "nodes[0].maxPods: 0 is out of range"),
        ("nodes: [{subnet: a}]", "nodes[0]"),
        ("nodes: [{name: a, subnet: east}]", "nodes[0].subnet: 'east' is not there (subnets: subnet-1)"),
        ("nodes: [{name: a, labels: {'a b': c}}]", "nodes[0].labels: 'a b' is no key"),
        (
            "nodes: [{name: a, taints: [{key: a, effect: Never}]}]",
            "nodes[0].taints[0].effect: 'Never' is not known (use NoExecute",
        ),
        ("nodes: [{name: a, taints: [{key: a, effect: NoSchedule}]}]", "every node's taints keep the DNS pods away"),
        ("nodez: 3", "nodez: no such field (did you mean nodes?)"),
        ("podCIDR: 10.96.0.0/16", "podCIDR 10.96.0.0/16 and serviceCIDR 10.96.0.0/12 overlap"),
        ("ipFamily: ipv6\npodCIDR: 10.244.0.0/16", "podCIDR: 10.244.0.0/16 does not fit ipFamily ipv6"),
        ("ipFamily: ipv5", "ipFamily: 'ipv5' is not known (use dual, ipv4, ipv6)"),
        ("network: {links: ovs}", "network.links: 'ovs' is not known (use bridge, routed)"),
        (
            "network: {backend: bgp, bgp: {peers: [{address: 0.0.0.0, asn: 1}]}}",
            "peers[0].address: 0.0.0.0 is no router's",
        ),
        (
            "network: {bgp: {peers: [{address: 10.9.0.1, asn: 1}, {address: 10.9.0.1, asn: 2, nodes: [node-1]}]}}",
            "network.bgp.peers[1].address: 10.9.0.1 is that of peers[0], too",
        ),
        ("subnets: ['']", "subnets[0].cidr: '' does not fit ipFamily ipv4"),
        ("network: {backend: bgp, bgp: {mesh: false}}", "network.bgp.mesh: false leaves nobody to tell routes to"),
        (
            "ipFamily: ipv6\nnetwork: vxlan\nsubnets: [{cidr: 'fd01::/64', mtu: 1349}]",
            "subnets[0].mtu: 1349 leaves 1279 bytes to pods through vxlan (use 1350 or more: IPv6 needs 1280)",
        ),
        ("podCIDR: 10.244.0.0/25", "podCIDR: 10.244.0.0/25 is too small"),
        ("podCIDR: 10.244.0.0/23", "podCIDR: 10.244.0.0/23 is too small (each of 3 nodes takes a /24 of it)"),
        ("podCIDR: 10.244.0.1/16", "podCIDR: 10.244.0.1/16 has host bits set"),
        ("podCIDR: 224.0.0.0/16", "podCIDR: 224.0.0.0/16 is no range for hosts"),
        ("serviceCIDR: 10.96.0.0/28", "serviceCIDR: 10.96.0.0/28 is too small"),
        ("subnets: [172.30.0.0/29]", "subnets[0].cidr: 172.30.0.0/29 is too small"),
        ("subnets: [172.30.0.0/24, 172.30.0.0/16]", "subnets[0].cidr 172.30.0.0/24 and subnets[1].cidr"),
        ("subnets: [{cidr: 172.30.0.0/24, mtu: 70000}]", "subnets[0].mtu: 70000 is out of range"),
        (
            "subnets: [{name: a, cidr: 10.1.0.0/24}, {name: a, cidr: 10.2.0.0/24}]",
            "subnets[1].name: 'a' is there twice",
        ),
        (
            "subnets: [10.1.0.0/24, 10.2.0.0/24]\nnodes: [{name: a}, {name: b, subnet: subnet-2}]",
            "network: host-gw does not reach over the router between subnets subnet-1 and subnet-2",
        ),
        (
            "ipFamily: ipv6\nnetwork: ipip",
            "network: ipip carries IPv4 alone, and this lab has none (use vxlan, wireguard or ipsec)",
        ),
        (
            f"ipFamily: dual\nnetwork: ipip\n{TWO}",
            "network: ipip carries IPv4 alone, and IPv6 would end at the router between subnet-1 and subnet-2",
        ),
        (
            "network: {ipam: {type: pools}}",
            "another node's block (set network.links: routed, or network.ipam.type: podCIDR)",
        ),
        ("network: calico", "network.backend: 'calico' is not known"),
        ("dns: {fastPath: xdp}", "dns.fastPath: 'xdp' is not known (use none or ebpf)"),
        ("dns: {fastpath: ebpf}", "dns.fastpath: no such field (did you mean fastPath?)"),
        ("dns: {service: kube-dns}", "dns.service: 'kube-dns' is no NAMESPACE/NAME"),
        ("network: {backend: vxlan, vnii: 3}", "network.vnii: no such field (did you mean vni?)"),
        ("network: {backend: bgp, bgp: {routeReflectors: [x]}}", "network.bgp.routeReflectors: there is no node 'x'"),
        (
            "network: ospf\nsubnets: [10.1.0.0/24, 10.2.0.0/24]\nnodes: [{name: a}, {name: b, subnet: subnet-2}]",
            "network: ospf does not reach over the router",
        ),
        ("apiVersion: nope", "apiVersion: 'nope'"),
        ("proxy: {mode: nope}", "proxy.mode: 'nope'"),
        ("proxy: {iptabels: {}}", "proxy.iptabels: no such field (did you mean iptables?)"),
        ("proxy: {nftables: {masqueradebit: 3}}", "proxy.nftables.masqueradebit: no such field"),
        ("names: {example.com: [nope]}", "names.example.com"),
        ("nodes: 3\nnodes: 4", 'key "nodes" already set'),
        ("nodes: [", "is not one YAML document"),
        ("---\nkind: Lab", "is not one YAML document"),
    ],
)
def test_a_wrong_lab_is_refused_by_its_field(tmp_path: Path, document: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        spec(tmp_path, f"kind: Lab\n{document}\n")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_no_lab_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_spec("clew", tmp_path / "none", Flags())
    with pytest.raises(UserError, match="is no lab"):
        spec(tmp_path, "kind: Cluster\n")


def test_names_too_long_for_a_socket_are_refused_before_a_node_fails_to_start(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(f"kind: Lab\nnodes: [{'n' * 40}]")
    assert read_spec("x" * 34, path, Flags())
    with pytest.raises(UserError, match="too long together"):
        read_spec("x" * 35, path, Flags())
