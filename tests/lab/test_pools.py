"""Addresses from IPPools as a user has them: pools applied with kubectl, blocks looked at, pods that talk."""

import os
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from .small_lab import SmallLab, eventually, small_lab

pytestmark = pytest.mark.root
EXAMPLE = Path(__file__).parents[2] / "examples" / "networks" / "pools.yaml"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    with small_lab(f"pools{os.getpid()}", tmp_path_factory.mktemp("pools"), "--config", str(EXAMPLE)) as lab:
        yield lab


def pool(name: str, cidr: str, **spec: Any) -> str:
    more = "".join(f", {field}: {value}" for field, value in spec.items())
    return (
        f"apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {name}}}\n"
        f"spec: {{cidr: '{cidr}'{more}}}\n---\n"
    )


def pod(name: str, node: int, annotation: str, image: str = "nginx") -> str:
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, annotations: {{{annotation}}}}}\n"
        f"spec: {{nodeName: node-{node}, terminationGracePeriodSeconds: 0, "
        f"containers: [{{name: it, image: {image}}}]}}\n---\n"
    )


def of_pool(name: str, family: int = 4) -> str:
    return f"cni.projectcalico.org/ipv{family}pools: '[\"{name}\"]'"


def ip(lab: SmallLab, name: str) -> str:
    return str(lab.pod(name)["status"]["podIP"])


def test_the_first_pool_is_there_and_blocks_are_carved_for_whoever_needs_them(lab: SmallLab) -> None:
    found = lab.get("ippool", "default-ipv4-ippool")
    assert found["spec"] == {"cidr": "10.244.0.0/16", "natOutgoing": True, "nodeSelector": "all()"}
    eventually(lambda: lab.kubectl("get", "ippool").stdout.split()[-1] == "True", what="the condition Valid is shown")
    shown = lab.kubectl("get", "ippool").stdout.splitlines()[-1].split()
    assert (shown[2], shown[5]) == ("26", "65536"), "though the pool says no block size"
    dns = [each["status"]["podIP"] for each in lab.get("pods", "", "-n", "kube-system", "-l", "k8s-app=kube-dns")]
    blocks = [ip_network(block["spec"]["cidr"]) for block in lab.get("ipamblocks")]
    assert all(any(ip_address(each) in block for block in blocks) for each in dns)
    assert all(block.prefixlen == 26 for block in blocks)


def test_two_nodes_share_a_small_pool_to_its_last_address(lab: SmallLab) -> None:
    """Eight addresses, blocks of four: one node takes both blocks, the other borrows, and each packet finds its way."""
    lab.apply(pool("tiny", "10.88.0.0/29", blockSize=30, assignmentMode="Manual"))
    lab.apply("".join(pod(f"a{number}", 1, of_pool("tiny")) for number in range(5)))
    for number in range(5):
        lab.wait(f"a{number}")
    lab.apply("".join(pod(f"b{number}", 2, of_pool("tiny")) for number in range(3)))
    for number in range(3):
        lab.wait(f"b{number}")
    blocks = [each for each in lab.get("ipamblocks") if each["spec"]["cidr"].startswith("10.88.")]
    assert {each["spec"]["affinity"] for each in blocks} == {"host:node-1"}
    names = [*(f"a{number}" for number in range(5)), *(f"b{number}" for number in range(3))]
    assert len({ip(lab, name) for name in names}) == 8
    shown = [line.split()[2:7] for line in lab.kubectl("get", "ipamblocks").stdout.splitlines() if "10.88." in line]
    assert sorted(shown) == [["node-1", "4", "4", "0", "0"], ["node-1", "4", "4", "3", "0"]]
    used = ["tiny", "10.88.0.0/29", "30", "2", "8", "8"]  # name, range, block size, blocks, in use, size
    eventually(lambda: lab.kubectl("get", "ippool", "tiny").stdout.splitlines()[-1].split()[:6] == used, what="figures")
    wide = lab.kubectl("get", "ippool", "tiny", "-o", "wide").stdout.splitlines()[-1].split()
    assert wide[-2:] == ["3", "Manual"], "borrowed; mode"
    for target in ("a4", "b2"):
        for client in (("node", "exec", "node-1", "--"), ("node", "exec", "node-2", "--")):
            said = lab.clew(*client, "curl", "-s", "-m", "5", f"http://{ip(lab, target)}/")
            assert "Welcome to nginx" in said.stdout, (target, client, said)
    for client, target in (("a0", "b0"), ("b0", "a0"), ("b1", "b2")):
        said = lab.kubectl("exec", client, "--", "curl", "-s", "-m", "5", f"http://{ip(lab, target)}/")
        assert "Welcome to nginx" in said.stdout, (client, target, said.stderr)
    lab.apply(pod("late", 2, of_pool("tiny")))
    said = "no free address in IPPool tiny (10.88.0.0/29)"
    eventually(lambda: any(said in message for _, message in lab.events("late")), what="exhaustion is the pod's Event")
    lab.kubectl("delete", "pod", "b1", "--wait=true")
    lab.wait("late", seconds=60)
    lab.kubectl("delete", "pod", "late", *names, "--wait=true")
    eventually(lambda: held(lab, "10.88.") == [], what="nothing of it is held any more")


def test_pools_on_a_bridge_are_refused_before_anything_is_made_or_changed(lab: SmallLab, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(EXAMPLE.read_text().replace("links: routed", "links: bridge"))
    configuration = lab.get("configmap", "clew-agent", "-n", "kube-system")
    for name in (lab.name, f"{lab.name}new"):
        done = lab.clew("up", "--name", name, "--config", str(wrong))
        assert done.returncode == 1
        assert "network.links: bridge has no way to an address of another node's block" in done.stderr
        assert "set network.links: routed, or network.ipam.type: podCIDR" in done.stderr
    assert lab.get("configmap", "clew-agent", "-n", "kube-system") == configuration
    assert not list(Path("/").glob(f"*/*/clew/{lab.name}new")), "no folder of it"
    assert f"{lab.name}new" not in lab.clew("ls").stdout


def held(lab: SmallLab, start: str) -> list[Any]:
    mine = [each["spec"] for each in lab.get("ipamblocks") if each["spec"]["cidr"].startswith(start)]
    return [index for each in mine for index in each["allocations"] if index is not None]


def test_an_address_by_annotation(lab: SmallLab) -> None:
    annotation = "cni.projectcalico.org/ipAddrs: '[\"10.244.9.77\"]'"
    lab.apply(pod("fixed", 2, annotation))
    lab.wait("fixed")
    assert ip(lab, "fixed") == "10.244.9.77"
    lab.apply(pod("same", 1, annotation))
    said = (
        "metadata.annotations[cni.projectcalico.org/ipAddrs]: 10.244.9.77 is in use by pod default/fixed on node node-2"
    )
    eventually(lambda: any(said in message for _, message in lab.events("same")), what="who has it is said")
    lab.kubectl("delete", "pod", "fixed", "--wait=true")
    lab.wait("same", seconds=60)
    assert ip(lab, "same") == "10.244.9.77", "of another node's block, now that it is free"
    assert "Welcome" in lab.clew("node", "exec", "node-2", "--", "curl", "-s", "-m", "5", "http://10.244.9.77/").stdout
    lab.apply(pod("astray", 1, "cni.projectcalico.org/ipAddrs: '[\"192.0.2.7\"]'"))
    said = "192.0.2.7 is in no IPPool that gives this node's pods addresses"
    eventually(lambda: any(said in message for _, message in lab.events("astray")), what="the pools are said")
    lab.kubectl("delete", "pod", "same", "astray", "--wait=true")


def test_reserved_addresses_are_for_those_who_choose_them(lab: SmallLab) -> None:
    lab.apply(
        pool("kept", "10.77.0.0/30", blockSize=30, assignmentMode="Manual")
        + "apiVersion: projectcalico.org/v3\nkind: IPReservation\nmetadata: {name: kept}\n"
        "spec: {reservedCIDRs: [10.77.0.0/31, 10.77.0.3]}\n---\n"
        "apiVersion: projectcalico.org/v3\nkind: IPAMConfiguration\nmetadata: {name: default}\n"
        "spec: {strictAffinity: true}\n"
    )
    lab.apply(pod("only", 1, of_pool("kept")))
    lab.wait("only")
    lab.apply(pod("none", 2, of_pool("kept")))
    assert ip(lab, "only") == "10.77.0.2"
    said = "no free address in IPPool kept (10.77.0.0/30)"
    eventually(lambda: any(said in message for _, message in lab.events("none")), what="exhaustion is the pod's Event")
    assert "IPAMConfiguration default has strictAffinity" in str(lab.events("none"))
    lab.apply(pod("chosen", 1, "cni.projectcalico.org/ipAddrs: '[\"10.77.0.3\"]'"))
    lab.wait("chosen")
    assert ip(lab, "chosen") == "10.77.0.3"
    lab.kubectl("delete", "pod", "only", "none", "chosen", "--wait=true")
    lab.kubectl("delete", "ipreservation/kept", "ipamconfiguration/default", "ippool/kept")


def test_a_pods_rates_by_annotation(lab: SmallLab) -> None:
    lab.apply(pod("slow", 1, "kubernetes.io/ingress-bandwidth: 10M, kubernetes.io/egress-bandwidth: 2M"))
    lab.apply(pod("wrong", 1, "kubernetes.io/egress-bandwidth: '5'"))
    lab.wait("slow")
    said = lab.clew("node", "exec", "node-1", "--", "tc", "qdisc", "show").stdout
    assert "rate 10Mbit" in said
    assert "rate 2Mbit" in said
    said = "metadata.annotations[kubernetes.io/egress-bandwidth] is '5': it must be 1k to 1P bits a second"
    eventually(lambda: any(said in message for _, message in lab.events("wrong")), what="the pod is told")
    lab.kubectl("delete", "pod", "slow", "wrong", "--wait=true")
    shown = ("node", "exec", "node-1", "--", "tc", "qdisc", "show")
    eventually(lambda: "tbf" not in lab.clew(*shown).stdout, what="they go with the pod")


def test_wrong_pools_are_refused_by_field_and_touch_nothing(lab: SmallLab) -> None:
    refused = lab.kubectl("apply", "-f", "-", text=pool("wrong", "10.99.0.0/16", blockSize=19))
    assert "spec.blockSize: Invalid value: 19" in refused.stderr
    refused = lab.kubectl("apply", "-f", "-", text=pool("wrong", "10.99.0.0/16", ipipMode="Always"))
    assert "spec.ipipMode: Unsupported value" in refused.stderr
    for text, said in (  # by the rules of the definition, as a real server evaluates them
        (pool("small", "10.99.0.0/28"), 'spec.cidr: Invalid value: "object": 10.99.0.0/28 is smaller than a block'),
        (pool("six", "fd00:99::/64", blockSize=64), "must be 20 to 32 for IPv4, 116 to 128 for IPv6"),
        (pool("host", "10.99.0.1/16"), "has host bits: the range is 10.99.0.0/16"),
        (pool("default-ipv4-ippool", "10.243.0.0/16"), "cannot be changed: make another pool, and disable this one"),
    ):
        assert said in lab.kubectl("apply", "-f", "-", text=text).stderr
    lab.apply(pool("twice", "10.244.128.0/17"))
    said = "spec.cidr: 10.244.128.0/17 overlaps with 10.244.0.0/16 of IPPool default-ipv4-ippool"
    chosen = "--field-selector=involvedObject.name=twice"
    eventually(lambda: "conditions" in lab.get("ippool", "twice").get("status", {}), what="a verdict")
    (condition,) = lab.get("ippool", "twice")["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Valid", "False")
    assert said in condition["message"]
    eventually(lambda: said in str(lab.get("events", "", chosen)), what="an Event")
    lab.apply(pod("none", 1, of_pool("twice")))
    told = "'twice' is no IPPool of IPv4 that gives this node's pods addresses"
    eventually(lambda: any(told in message for _, message in lab.events("none")), what="a pod is told")
    assert "podIP" not in lab.pod("none")["status"]
    lab.kubectl("delete", "pod", "none", "--wait=true")
    lab.kubectl("delete", "ippool", "twice")
