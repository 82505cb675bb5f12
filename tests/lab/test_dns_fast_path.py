"""A lab with `dns: {fastPath: ebpf}`: the same answers for the same clients, given by the nodes; and none when it goes.

Pods on every node ask by busybox, dig and glibc. What the nodes answered is read from their agents' metrics.
"""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .small_lab import SmallLab, eventually, small_lab

pytestmark = pytest.mark.root

NODES = ("node-1", "node-2")
FILE = """
kind: Lab
nodes: 2
ipFamily: FAMILY
network: {backend: host-gw, links: LINKS}
proxy: {mode: MODE}
dns: {fastPath: ebpf}
"""
ASKER = """
apiVersion: v1
kind: Pod
metadata: {name: on-NODE}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  containers:
  - {name: tools, image: clew, command: [sleep, "1000"]}
  - {name: box, image: busybox, command: [sleep, "1000"]}
  - name: asking
    image: clew
    command: [sh, -c, "while sleep 0.3; do echo $(getent ahostsv4 web | head -n1) $(getent ahostsv4 peers); done"]
---
"""
OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.77.7, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, ports: [{name: x, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: peers, labels: {kubernetes.io/service-name: peers}}
addressType: IPv4
endpoints: [{addresses: [10.244.9.9]}]
ports: [{name: x, port: 80}]
---
"""


@pytest.fixture(scope="module", params=["bridge", "routed"])
def fast(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    """Bridged pods with IPv4; routed ones with both families, whose sockets ask an endpoint (mode ebpf)."""
    folder = tmp_path_factory.mktemp("fast")
    family, mode = ("dual", "ebpf") if request.param == "routed" else ("ipv4", "nftables")
    file = FILE.replace("LINKS", request.param).replace("FAMILY", family).replace("MODE", mode)
    (folder / "lab.yaml").write_text(file)
    with small_lab(f"fast{os.getpid()}", folder, "--config", str(folder / "lab.yaml")) as lab:
        lab.apply(OBJECTS + "".join(ASKER.replace("NODE", node) for node in NODES))
        done = lab.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s", seconds=70)
        assert done.returncode == 0, done.stderr
        known = ("10.244.9.9",)
        eventually(
            lambda: inside(lab, NODES[0], "getent hosts peers").startswith(known), 10, "the last service is known"
        )
        yield lab


def inside(lab: SmallLab, node: str, line: str, container: str = "tools") -> str:
    done = lab.kubectl("exec", f"on-{node}", "-c", container, "--", "sh", "-c", line)
    return done.stdout + done.stderr


def counts(lab: SmallLab, node: str) -> dict[str, int]:
    """Questions by what became of them, on one node."""
    page = lab.clew("node", "exec", node, "--", "curl", "-s", "127.0.0.1:10249/metrics").stdout
    return {
        reason: int(count)
        for reason, count in re.findall(
            r'^clew_dns_fast_path_queries_total{.*reason="(\w+)"} (\d+)', page, re.MULTILINE
        )
    }


def disciplines(lab: SmallLab) -> str:
    return "".join(lab.clew("node", "exec", node, "--", "tc", "qdisc", "show").stdout for node in NODES)


def test_clients_on_every_node(fast: SmallLab) -> None:
    for node in NODES:
        before = counts(fast, node)
        assert "Address: 10.96.77.7" in inside(fast, node, "nslookup -type=a web.default.svc.cluster.local", "box")
        assert "NXDOMAIN" in inside(fast, node, "nslookup nothing.default.svc.cluster.local", "box")
        assert inside(fast, node, "getent ahostsv4 web").split()[0] == "10.96.77.7"
        assert inside(fast, node, "getent ahostsv4 web.default.svc.cluster.local.").split()[0] == "10.96.77.7"
        assert inside(fast, node, "getent hosts nothing.default") == "command terminated with exit code 2\n"
        assert inside(fast, node, "dig +nocookie +short wEb.default.svc.cluster.local") == "10.96.77.7\n"
        for way in ("+cookie", "+tcp"):  # by the servers
            assert inside(fast, node, f"dig {way} +short web.default.svc.cluster.local") == "10.96.77.7\n"
        assert inside(fast, node, "getent hosts peers").split()[0] == "10.244.9.9"
        fromservers = inside(fast, node, "dig +cookie +noall +comments +answer +authority x.default.svc.cluster.local")
        here = inside(fast, node, "dig +nocookie +noall +comments +answer +authority x.default.svc.cluster.local")
        assert plain(here) == plain(fromservers)
        after = counts(fast, node)
        for reason in ("address", "nxdomain", "server", "unusual"):
            assert after[reason] > before[reason], reason
        assert after["failed"] == after["unsure"] == 0


def plain(shown: str) -> str:
    """What dig shows without what differs by nature: IDs, cookies, serial numbers."""
    return re.sub(r"; COOKIE.*\n|id: \d+|hostmaster\S+ \d+", "", shown)


def test_a_new_service_answers_and_a_deleted_one_does_not(fast: SmallLab) -> None:
    ask = "dig +nocookie +noall +comments +answer new.default.svc.cluster.local"
    assert "NXDOMAIN" in inside(fast, NODES[0], ask)
    fast.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: new}\nspec: {clusterIP: 10.96.77.8, ports: [{port: 80}]}"
    )
    for node in NODES:
        eventually(lambda node=node: "10.96.77.8" in inside(fast, node, ask), 5, "it answers")
    assert fast.kubectl("delete", "service", "new").returncode == 0
    for node in NODES:
        eventually(lambda node=node: "NXDOMAIN" in inside(fast, node, ask), 5, "it is gone")


@pytest.mark.parametrize("fast", ["bridge"], indirect=True)
def test_questions_go_on_without_the_servers_and_without_the_api_server(fast: SmallLab) -> None:
    """What the nodes know they answer when no DNS pod is left; what they do not know, the pods answer from memory."""
    daemon = Path("/run/clew", fast.name, "daemon.pid")
    since = fast.clew("node", "exec", NODES[0], "--", "date", "-u", "+%Y-%m-%dT%H:%M:%S.%NZ").stdout.strip()
    os.kill(int(daemon.read_text()), signal.SIGKILL)
    fast.clew("node", "exec", NODES[0], "--", "sleep", "4")
    up = fast.clew("up", "--name", fast.name)
    assert up.returncode == 0, up.stderr
    for node in NODES:
        lines = fast.logs(f"on-{node}", "-c", "asking", "--since-time", since).splitlines()
        assert len(lines) >= 8
        assert [
            line for line in lines if not re.fullmatch(r"10\.96\.77\.7 STREAM .* 10\.244\.9\.9 STREAM .*", line)
        ] == []
    system = ("-n", "kube-system")
    assert fast.kubectl(*system, "scale", "deployment", "coredns", "--replicas=0").returncode == 0
    eventually(lambda: not fast.get("pods", "", *system, "-l", "k8s-app=kube-dns"), 30, "no DNS pod is left")
    try:
        for node in NODES:
            eventually(lambda node=node: sure(fast, node), 90, "the API server is heard again")
            assert inside(fast, node, "getent ahostsv4 web").split()[0] == "10.96.77.7"
            assert "NXDOMAIN" in inside(fast, node, "nslookup nothing.default.svc.cluster.local", "box")
        assert "10.244.9.9" not in inside(fast, NODES[0], "dig +time=1 +tries=1 +short peers.default.svc.cluster.local")
    finally:
        fast.kubectl(*system, "scale", "deployment", "coredns", "--replicas=2")
        done = fast.kubectl(*system, "rollout", "status", "deployment/coredns", "--timeout=60s", seconds=70)
    assert done.returncode == 0, done.stderr


def sure(lab: SmallLab, node: str) -> bool:
    page = lab.clew("node", "exec", node, "--", "curl", "-s", "127.0.0.1:10249/metrics").stdout
    return "\nclew_dns_fast_path_sure 1\n" in page


@pytest.mark.parametrize("fast", ["bridge"], indirect=True)
def test_switched_off_it_leaves_nothing(fast: SmallLab) -> None:
    system = ("-n", "kube-system")
    assert disciplines(fast).count("clsact") >= 4
    agent, proxy = fast.get("configmap", "clew-agent", *system)["data"]["agent.yaml"].split("\n---\n")
    changed = json.loads(agent) | {"dns": {"fastPath": "none"}}
    text = json.dumps({"data": {"agent.yaml": f"{json.dumps(changed)}\n---\n{proxy}"}})
    assert fast.kubectl(*system, "patch", "configmap", "clew-agent", "--type=merge", "-p", text).returncode == 0
    assert fast.kubectl(*system, "rollout", "restart", "daemonset/clew-agent").returncode == 0
    done = fast.kubectl(*system, "rollout", "status", "daemonset/clew-agent", "--timeout=60s", seconds=70)
    assert done.returncode == 0, done.stderr
    eventually(lambda: "clsact" not in disciplines(fast), 20, "filters and disciplines are gone")
    assert counts(fast, NODES[0]) == {}
    assert inside(fast, NODES[0], "getent ahostsv4 web").split()[0] == "10.96.77.7"
