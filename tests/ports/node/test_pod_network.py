"""Two nodes with real agents and the real plugin: who reaches whom, and as whom."""

import json
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clew.kernel import netns
from clew.kernel.netlink import Add, Address, Bridge, Delete, Link, Netlink, Route, SetLink

pytestmark = pytest.mark.root

OURS = 147


def addresses(entry: Any) -> list[str]:
    return [address.partition("/")[0] for address in entry.addresses]


def test_everyone_sees_everyone_as_they_are(any_lab: Any, tools: Any) -> None:
    one, two = any_lab.node(1), any_lab.node(2)
    for node in (one, two):
        node.start()
    a, b, c = one.pod("a"), one.pod("b"), two.pod("c")
    for node in (one, two):
        any_lab.route_back(any_lab.outside, node)
    for at, _ in enumerate(any_lab.families):
        assert tools.seen_source(a.ns, b.ns, b.ips[at]) == a.ips[at], "on one node"
        assert tools.seen_source(a.ns, c.ns, c.ips[at]) == a.ips[at], "across nodes"
        assert tools.seen_source(c.ns, a.ns, a.ips[at]) == c.ips[at], "and back"
        node_one, node_two = addresses(one)[at], addresses(two)[at]
        assert tools.seen_source(two.ns, a.ns, a.ips[at]) == node_two, "a node to another's pod"
        assert tools.seen_source(a.ns, one.ns, node_one) == a.ips[at], "a pod to its node"
        assert tools.seen_source(a.ns, two.ns, node_two) == a.ips[at], "a pod to another node"
        gateway = one.cidrs[at].replace("0/24", "1").replace("::/64", "::1")
        assert tools.seen_source(one.ns, a.ns, a.ips[at]) == gateway, "a node to its own pod, from the bridge"
        outside = {4: "172.30.0.100", 6: "fd00:172:30::64"}[any_lab.families[at]]
        assert tools.seen_source(a.ns, any_lab.outside, outside) == node_one, "out of the cluster as the node"


def test_a_result_says_what_there_is(lab: Any) -> None:
    node = lab.node(1)
    node.start()
    pod = node.pod("web")
    assert pod.result["cniVersion"] == "1.1.0"
    assert pod.result["ips"] == [{"address": "10.244.1.2/24", "gateway": "10.244.1.1", "interface": 2}]
    assert pod.result["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.244.1.1"}]
    bridge, host, inside = pod.result["interfaces"]
    assert bridge == {"name": "cbr0", "mac": "0a:58:0a:f4:01:01", "mtu": 1500}
    assert inside == {"name": "eth0", "mac": "0a:58:0a:f4:01:02", "mtu": 1500, "sandbox": str(pod.ns)}
    with Netlink(node.ns) as kernel, Netlink(pod.ns) as pod_kernel:
        link = kernel.link(host["name"])
        assert link is not None
        assert (link.mac, link.master, link.group, link.alias) == (host["mac"], "cbr0", OURS, "web/eth0")
        eth0 = pod_kernel.link("eth0")
        assert eth0 is not None
        assert (eth0.mac, eth0.up, eth0.mtu) == (inside["mac"], True, 1500)
    status, old = node.cni("ADD", "old", lab.namespace("old-style"), cniVersion="0.3.1")
    assert (status, old["ips"][0]["version"], old["cniVersion"]) == (0, "4", "0.3.1")
    assert "mtu" not in old["interfaces"][0]


def test_del_gives_back_and_may_be_repeated(lab: Any) -> None:
    node = lab.node(1)
    node.start()
    pod = node.pod("web")
    pod.detach()
    pod.detach()
    with Netlink(node.ns) as kernel, Netlink(pod.ns) as inside:
        assert [link.name for link in kernel.links() if link.group == OURS] == []
        assert inside.link("eth0") is None
    again = node.pod("next")
    assert again.ips == ["10.244.1.3"], "an address that came free is not the next one given out"
    assert node.cni("DEL", "never-was") == (0, {})


def test_errors_name_what_is_wrong(lab: Any) -> None:
    node = lab.node(1)
    node.start()
    pod = node.pod("web")
    status, error = node.cni("ADD", "web", pod.ns)
    assert (status, error["code"]) == (1, 100)
    status, error = node.cni("ADD", "other", pod.ns)
    assert (status, error["code"]) == (1, 102), "eth0 is there already"
    assert "eth0" in error["details"]
    status, error = node.cni("ADD", "third", Path("/nowhere/at/all"))
    assert (status, error["code"]) == (1, 4)
    assert "/nowhere/at/all" in error["msg"]
    status, error = node.cni("ADD", "fourth", pod.ns, cniVersion="9.9.9")
    assert (status, error["code"]) == (1, 1)
    assert node.pod("fine").ips == ["10.244.1.4"], "what the failed ADD had reserved is free, and not at once reused"
    with Netlink(node.ns) as kernel:
        assert len([link for link in kernel.links() if link.group == OURS]) == 2


def test_check(lab: Any) -> None:
    node = lab.node(1)
    node.start()
    pod = node.pod("web")
    assert node.cni("CHECK", "web", pod.ns, prevResult=pod.result) == (0, {})
    with Netlink(pod.ns) as inside:
        inside.request([SetLink("eth0", up=False)])
    status, error = node.cni("CHECK", "web", pod.ns, prevResult=pod.result)
    assert (status, error["code"]) == (1, 103)
    assert "eth0 is down" in error["details"]
    assert node.cni("CHECK", "stranger", pod.ns, prevResult=pod.result)[1]["code"] == 3


def test_gc_removes_what_the_runtime_does_not_know(lab: Any) -> None:
    node = lab.node(1)
    node.start()
    kept, stale = node.pod("kept"), node.pod("stale")
    valid = {"cni.dev/valid-attachments": [{"containerID": "kept", "ifname": "eth0"}]}
    assert node.cni("GC", "", **valid) == (0, {})
    with Netlink(kept.ns) as one, Netlink(stale.ns) as other:
        assert one.link("eth0") is not None
        assert other.link("eth0") is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_everything(lab: Any, tools: Any, number: int) -> None:
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        node.start()
    a, b = one.pod("a"), two.pod("b")
    status = one.stop(number)
    assert status == (0 if number == signal.SIGTERM else -number)
    assert tools.seen_source(a.ns, b.ns, b.ips[0]) == a.ips[0], "traffic goes on without an agent"
    with Netlink(one.ns) as kernel:
        before = {link.index for link in kernel.links()}, kernel.routes(proto=OURS)
    one.start()
    with Netlink(one.ns) as kernel:
        assert ({link.index for link in kernel.links()}, kernel.routes(proto=OURS)) == before, "nothing was made anew"
    c = one.pod("c")
    assert c.ips != a.ips
    assert tools.seen_source(c.ns, b.ns, b.ips[0]) == c.ips[0]
    a.detach()


def test_calls_without_an_agent(lab: Any) -> None:
    node = lab.node(1)
    node.start()
    pod, other = node.pod("web"), node.pod("other")
    node.stop(signal.SIGKILL)
    assert node.cni("STATUS", "")[1]["code"] == 50
    assert node.cni("ADD", "new", lab.namespace("new-pod"))[1]["code"] == 11
    assert node.cni("CHECK", "web", pod.ns)[1]["code"] == 11
    assert node.cni("DEL", "web") == (0, {}), "it waits in the spool"
    netns.delete(pod.ns)
    node.start()
    with Netlink(node.ns) as kernel:
        assert [link.alias for link in kernel.links() if link.group == OURS] == ["other/eth0"]
    assert list((node.root / "state" / "spool").iterdir()) == []
    other.detach()


def test_half_made_links_go_and_foreign_ones_stay(lab: Any) -> None:
    node = lab.node(1)
    node.start()
    pod = node.pod("web")
    name = pod.result["interfaces"][1]["name"]
    node.stop(signal.SIGKILL)
    with Netlink(node.ns) as kernel:
        kernel.request(
            [
                SetLink(name, alias=""),
                Add(Link("foreign", Bridge(), up=True)),
                Add(Route("10.99.0.0/16", dev="eth0")),
                Add(Route("10.244.77.0/24", via="172.30.0.77", proto=OURS)),
            ]
        )
        node.start()
        assert kernel.link(name) is None
        assert kernel.link("foreign") is not None
        destinations = {route.destination for route in kernel.routes()}
        assert "10.99.0.0/16" in destinations
        assert "10.244.77.0/24" not in destinations, "a route of ours to a node that is gone"
    pod.attach()
    assert pod.ips == ["10.244.1.3"], "the address was given back, and is not the next in turn"


def test_nodes_come_move_and_go(lab: Any, tools: Any) -> None:
    one = lab.node(1)
    one.start()
    a = one.pod("a")
    two = lab.node(2)
    two.start()
    b = two.pod("b")

    def ways() -> dict[str, str]:
        with Netlink(one.ns) as kernel:
            return {route.destination: route.via for route in kernel.routes(proto=OURS)}

    tools.eventually(lambda: ways() == {"10.244.2.0/24": "172.30.0.12"}, "the new node's route")
    assert tools.seen_source(a.ns, b.ns, b.ips[0]) == a.ips[0]
    with Netlink(two.ns) as kernel:
        kernel.request([Add(Address("172.30.0.22/24", "eth0"))])
    two.addresses = ("172.30.0.22/24",)
    two.publish()
    tools.eventually(lambda: ways() == {"10.244.2.0/24": "172.30.0.22"}, "the route follows the node's address")
    assert tools.seen_source(a.ns, b.ns, b.ips[0]) == a.ips[0]
    lab.api.put("nodes", "node2", None)
    tools.eventually(lambda: ways() == {}, "the route goes with the node")


def test_a_foreign_route_in_the_way_stays(lab: Any, tools: Any) -> None:
    one = lab.node(1)
    with Netlink(one.ns) as kernel:
        kernel.request([Add(Route("10.244.2.0/24", via="172.30.0.200"))])
        one.start()
        lab.node(2)
        log = one.root / "agent.log"
        tools.eventually(lambda: "not Clew's" in log.read_text(), "the agent says what is in its way")
        assert [route.via for route in kernel.routes() if route.destination == "10.244.2.0/24"] == ["172.30.0.200"]
        kernel.request([Delete(Route("10.244.2.0/24", proto=0))])
        tools.eventually(lambda: kernel.routes(proto=OURS), "and takes the place when it is free")


def test_twenty_at_once(lab: Any) -> None:
    node = lab.node(1)
    node.start()
    spaces = [lab.namespace(f"many-{i}") for i in range(20)]
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda i: node.cni("ADD", f"c{i}", spaces[i]), range(20)))
    assert [status for status, _ in results] == [0] * 20
    given = {result["ips"][0]["address"] for _, result in results}
    assert len(given) == 20
    with ThreadPoolExecutor(20) as pool:
        assert [status for status, _ in pool.map(lambda i: node.cni("DEL", f"c{i}"), range(20))] == [0] * 20
    with Netlink(node.ns) as kernel:
        assert [link.name for link in kernel.links() if link.group == OURS] == []


def test_a_small_range_runs_out_with_a_sentence(lab: Any) -> None:
    node = lab.node(1, publish=False)
    node.cidrs = ("10.244.1.0/30",)
    node.publish()
    node.start()
    node.pod("only")
    status, error = node.cni("ADD", "one-too-many", lab.namespace("one-too-many"))
    assert (status, error["code"]) == (1, 101)
    assert "10.244.1.0/30" in error["msg"]


def test_files_are_as_runtimes_want_them(lab: Any) -> None:
    node = lab.node(1)
    node.start()
    assert node.conflist.stat().st_mode & 0o777 == 0o600
    assert (node.root / "cni.sock").stat().st_mode & 0o777 == 0o600
    assert (node.root / "bin" / "clew-cni").stat().st_mode & 0o777 == 0o755
    conflist = json.loads(node.conflist.read_text())
    assert conflist["name"] == "clew"
    assert conflist["plugins"][0]["type"] == "clew-cni"


def test_services_reach_pods_of_the_same_node_and_a_pod_itself(any_lab: Any, tools: Any) -> None:
    """The reply of a neighbour on the bridge must pass the node's conntrack, and a hairpin come back to its sender."""
    node = any_lab.node(1)
    node.start()
    client, server = node.pod("client"), node.pod("server")
    vips = [{4: "10.96.0.50", 6: "fd00:10:96::50"}[family] for family in any_lab.families]
    any_lab.api.put(
        "services",
        "web",
        {
            "metadata": {"namespace": "default"},
            "spec": {"clusterIP": vips[0], "clusterIPs": vips, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )  # fmt: skip
    for family, ip in zip(any_lab.families, server.ips, strict=True):
        any_lab.api.put(
            "endpointslices",
            f"web-{family}",
            {
                "metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": f"IPv{family}",
                "endpoints": [{"addresses": [ip], "conditions": {"ready": True}}],
                "ports": [{"port": 8080, "protocol": "TCP", "name": ""}],
            },
        )
    for vip in vips:
        with tools.server(server.ns, ":" in vip, 8080):
            tools.eventually(lambda vip=vip: tools.connects(client.ns, vip, 80), f"{vip} from a neighbour")
            tools.eventually(lambda vip=vip: tools.connects(server.ns, vip, 80), f"{vip} from the only endpoint itself")
            tools.eventually(lambda vip=vip: tools.connects(node.ns, vip, 80), f"{vip} from the node")


def test_the_pages_of_an_agent(lab: Any, tools: Any) -> None:
    node = lab.node(1)
    node.start()
    tools.eventually(lambda: tools.page(node.ns, 10256, "/healthz")[0] == 200, "healthy")
    status, body = tools.page(node.ns, 10256, "/livez")
    document = json.loads(body)
    assert (status, document["nodeEligible"], document["healthy"]) == (200, True, True)
    assert list(document["status"]) == ["IPv4"]
    assert tools.page(node.ns, 10249, "/proxyMode") == (200, "nftables")
    node.pod("web")
    metrics = tools.page(node.ns, 10249, "/metrics")[1]
    assert 'clew_ipam_addresses_in_use{family="IPv4"} 1' in metrics
    assert 'clew_cni_requests_total{command="ADD",code="0"} 1' in metrics
    assert "kubeproxy_sync_proxy_rules_duration_seconds_count" in metrics
    lab.api.put("nodes", "node1", None)
    tools.eventually(lambda: tools.page(node.ns, 10256, "/healthz")[0] == 503, "a node that is gone is not eligible")
    assert tools.page(node.ns, 10256, "/livez")[0] == 200


def test_a_second_agent_is_refused(lab: Any) -> None:
    node = lab.node(1)
    node.start()
    first, node.agent = node.agent, None
    try:
        node.launch()
        assert node.agent.wait(60) != 0
    finally:
        node.agent = first
    said = (node.root / "agent.log").read_text()  # the first of what only one can have: metrics port or journal
    assert "answers at 127.0.0.1:10249 already" in said or "is in use by another agent" in said
    assert node.cni("STATUS", "") == (0, {}), "the first one goes on"


def test_a_firewall_in_the_way_is_named(lab: Any, tools: Any) -> None:
    """As Docker leaves a machine: everything was as it should be, and no pod reached another node."""
    one = lab.node(1)
    subprocess.run(["nsenter", f"--net={one.ns}", "iptables", "-P", "FORWARD", "DROP"], check=True, timeout=10)
    one.start()
    words = "iptables: the policy of chain FORWARD is DROP"
    tools.eventually(lambda: words in (one.root / "agent.log").read_text(), words)


def test_what_others_take_away_comes_back(lab: Any, tools: Any) -> None:
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        node.start()
    a, b = one.pod("a"), two.pod("b")
    with Netlink(one.ns) as kernel:
        kernel.request([Delete(Route("10.244.2.0/24", proto=OURS))])
        tools.eventually(lambda: kernel.routes(proto=OURS), "a route that somebody removed")
        kernel.request([SetLink("eth0", up=False), SetLink("eth0", up=True)])
        tools.eventually(lambda: kernel.routes(proto=OURS), "routes that the kernel dropped with the uplink")
        kernel.request([Delete(Link("cbr0"))])
        tools.eventually(lambda: tools.connects(a.ns, "10.244.1.1", 10256), "the bridge and what was plugged into it")
    assert tools.seen_source(a.ns, b.ns, b.ips[0]) == a.ips[0]
