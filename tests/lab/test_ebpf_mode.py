"""A lab whose nodes serve by eBPF: pods, nodes and outside use what kubectl makes; agents come and go."""

import json
import os
from collections.abc import Iterator

import pytest

from .small_lab import SmallLab, eventually, small_lab
from .test_services import MANIFESTS, NODES, REFUSED, address, answers, curl, pods, programs

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    flags = ("--nodes", "2", "--ip-family", "dual", "--proxy-mode", "ebpf")
    with small_lab(f"ebpf{os.getpid()}", tmp_path_factory.mktemp("ebpf"), *flags) as lab:
        lab.apply(MANIFESTS.read_text())
        done = lab.kubectl("rollout", "status", "daemonset/web", "--timeout=60s", seconds=70)
        assert done.returncode == 0, done.stderr
        lab.wait("client")
        yield lab


def test_a_service_is_reached_from_nodes_pods_and_outside(lab: SmallLab) -> None:
    everybody = set(pods(lab).values())
    vip = address(lab, "web")
    for node, own in NODES.items():
        assert curl(lab, node, "127.0.0.1:10249/proxyMode")[1] == "ebpf"
        eventually(lambda source=node: answers(lab, source, f"{vip}:80") == everybody, 20, "both pods answer")  # type: ignore[misc]
        assert answers(lab, "outside", f"{own}:30080") == everybody
        assert ":30080 " not in lab.clew("node", "exec", node, "--", "ss", "-ltnH").stdout
    loop = "for i in $(seq 24); do curl -sS --max-time 2 http://web/hostname || exit; echo; done"
    inside = lab.kubectl("exec", "client", "--", "sh", "-c", loop)
    assert set(inside.stdout.split()) == everybody, inside.stderr
    seen = lab.kubectl("exec", "client", "--", "curl", "-sS", f"http://{vip}/clientip").stdout
    assert seen.rpartition(":")[0] == lab.pod("client")["status"]["podIP"]


def test_policies_hold_at_the_nodes_doors(lab: SmallLab) -> None:
    """The address of a load balancer that keeps sources and takes one of them only."""
    lab.kubectl(
        "patch", "service", "near", "--subresource=status", "--type=merge", "-p",
        json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": "172.30.0.200"}]}}}),
    )  # fmt: skip
    to_node = ("ip", "route", "replace", "172.30.0.200/32", "via", NODES["node-1"])
    assert lab.clew("node", "exec", "outside", "--", *to_node).returncode == 0
    eventually(lambda: curl(lab, "outside", "172.30.0.200:80/hostname")[0] == 0, 10, "the address answers")
    assert answers(lab, "outside", "172.30.0.200:80") == {pods(lab)["node-1"]}
    assert curl(lab, "outside", "172.30.0.200:80/clientip")[1].rpartition(":")[0] == "172.30.0.100"
    for node in NODES:
        assert curl(lab, node, f"{address(lab, 'near')}:80")[0] == 0, "the service has an endpoint here"
        # a node is not among the sources, and is told at once, once it has heard of the address
        eventually(lambda node=node: curl(lab, node, "172.30.0.200:80")[0] == REFUSED, 10, f"{node} is refused")  # type: ignore[misc]


def test_what_nobody_serves_is_refused_at_once(lab: SmallLab) -> None:
    for source, target in (("node-1", f"{address(lab, 'empty')}:80"), ("node-2", f"{address(lab, 'web')}:4242")):
        assert curl(lab, source, target)[0] == REFUSED
    lab.kubectl("patch", "service", "web", "--type=merge", "-p", '{"spec": {"type": "ClusterIP"}}')
    eventually(lambda: curl(lab, "outside", "172.30.0.11:30080")[0] == REFUSED, 10, "the node port is closed")


def test_an_agent_that_dies_leaves_services_at_work_and_its_successor_as_they_are(lab: SmallLab) -> None:
    def attached() -> list[int]:
        return sorted(number for number, _ in programs(lab, "node-1"))

    before = attached()
    assert len(before) == 8
    kill = "kill -9 $(pgrep -f '[a]gent --config')"  # not the shell that says so
    assert lab.clew("node", "exec", "node-1", "--", "sh", "-c", kill).returncode == 0
    assert curl(lab, "node-1", f"{address(lab, 'web')}:80/hostname")[0] == 0
    eventually(lambda: curl(lab, "node-1", "127.0.0.1:10256/healthz")[0] == 0, 60, "the agent is back")
    assert attached() == before
    assert curl(lab, "node-1", f"{address(lab, 'web')}:80/hostname")[0] == 0
