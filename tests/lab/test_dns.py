"""Cluster DNS asked by the clients that people have: dig, nslookup of BIND and busybox, glibc's and musl's resolvers.

From pods on every node, through the ClusterIP, over UDP and TCP; and a Corefile that is changed.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.packages import unpacked

from .small_lab import Done, SmallLab, eventually

pytestmark = pytest.mark.root

NAMESPACE = "names"
OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: names}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: names}
spec: {clusterIP: CLUSTERIP, selector: {app: asker}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers, namespace: names}
spec: {clusterIP: None, selector: {app: asker}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: names}
spec: {type: ExternalName, externalName: web.names.svc.cluster.local}
"""
ASKER = """
---
apiVersion: v1
kind: Pod
metadata: {name: asker-NUMBER, namespace: names, labels: {app: asker}}
spec:
  nodeName: NODE
  hostname: asker-NUMBER
  subdomain: peers
  terminationGracePeriodSeconds: 0
  containers:
  - {name: tools, image: clew, command: [sleep, "1000"]}
  - {name: box, image: busybox, command: [sleep, "1000"]}
"""
WEB = "10.96.77.7"


@pytest.fixture(scope="module")
def askers(lab: SmallLab) -> Iterator[list[str]]:
    """A pod on each node."""
    nodes = [node["metadata"]["name"] for node in lab.get("nodes")]
    pods = [ASKER.replace("NUMBER", str(at)).replace("NODE", node) for at, node in enumerate(nodes)]
    try:
        lab.apply(OBJECTS.replace("CLUSTERIP", WEB) + "".join(pods))
        ready = lab.kubectl(
            "-n", NAMESPACE, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s", seconds=90
        )
        assert ready.returncode == 0, ready.stderr
        names = [f"asker-{at}" for at in range(len(nodes))]
        eventually(lambda: len(inside(lab, names[0], "dig +short peers.names.svc.cluster.local").split()) == len(nodes))
        yield names
    finally:
        lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def typed(lab: SmallLab, pod: str, line: str, container: str = "tools") -> Done:
    return lab.kubectl("-n", NAMESPACE, "exec", pod, "-c", container, "--", "sh", "-c", line)


def inside(lab: SmallLab, pod: str, line: str, container: str = "tools") -> str:
    """What a command in a pod prints; it must end well."""
    done = typed(lab, pod, line, container)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def addresses(lab: SmallLab) -> dict[str, str]:
    pods = lab.get("pods", "", "-n", NAMESPACE)
    return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods}


def test_dig_from_every_node_over_udp_and_tcp(lab: SmallLab, askers: list[str]) -> None:
    own = addresses(lab)
    for pod in askers:
        for way in ("+notcp", "+tcp", "+nocookie +noedns", "+bufsize=4096"):
            assert inside(lab, pod, f"dig {way} +short web.names.svc.cluster.local") == f"{WEB}\n"
            assert inside(lab, pod, f"dig {way} +short +search web") == f"{WEB}\n"
        asked = "dig +short peers.names.svc.cluster.local; dig +short -x 10.96.77.7; dig +short other +search"
        lines = inside(lab, pod, asked).split()
        assert set(lines[: len(own)]) == set(own.values())
        assert lines[len(own) :] == ["web.names.svc.cluster.local.", "web.names.svc.cluster.local.", WEB]
    srv = inside(lab, askers[0], "dig +short SRV _http._tcp.peers.names.svc.cluster.local").splitlines()
    weight = 100 // len(askers)
    assert sorted(srv) == sorted(f"0 {weight} 80 {pod}.peers.names.svc.cluster.local." for pod in askers)


def test_nslookup_of_bind_and_of_busybox(lab: SmallLab, askers: list[str]) -> None:
    own = addresses(lab)
    for container in ("tools", "box"):
        for pod in askers:
            assert f"Address: {WEB}" in inside(lab, pod, "nslookup -type=a web.names.svc.cluster.local", container)
        assert own["asker-0"] in inside(
            lab, askers[0], "nslookup -type=a asker-0.peers.names.svc.cluster.local", container
        )
        missing = typed(lab, askers[0], "nslookup nothing.names.svc.cluster.local", container)
        assert missing.returncode != 0
        assert "NXDOMAIN" in missing.stdout + missing.stderr


def test_glibc_by_short_and_long_names(lab: SmallLab, askers: list[str]) -> None:
    own = addresses(lab)
    for pod in askers:
        for name in (
            "web",
            "web.names",
            "web.names.svc",
            "web.names.svc.cluster.local",
            "web.names.svc.cluster.local.",
        ):
            assert inside(lab, pod, f"getent ahostsv4 {name}").split()[0] == WEB
    first = inside(lab, askers[0], "hostname -f; getent ahostsv4 asker-1.peers | head -1").split()
    assert first[:2] == ["asker-0.peers.names.svc.cluster.local", own.get("asker-1", first[1])]
    assert typed(lab, askers[0], "getent ahosts nothing.names.svc.cluster.local").returncode == 2


@pytest.fixture(scope="module")
def musl(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """resolve.c with musl's resolver, in one static program."""
    root = unpacked("musl-dev") / "usr"
    (library,), (headers,) = root.glob("lib/*-linux-musl"), root.glob("include/*-linux-musl")
    made = tmp_path_factory.mktemp("musl") / "resolve"
    parts = [library / "crt1.o", library / "crti.o", Path(__file__).with_name("resolve.c"), library / "libc.a"]
    command = ["cc", "-static", "-no-pie", "-nostdinc", "-isystem", headers, "-nostdlib", "-o", made, *parts]
    subprocess.run([*command, "-lgcc", library / "crtn.o"], check=True)
    return made.read_bytes()


def test_musl_by_short_and_long_names(lab: SmallLab, askers: list[str], musl: bytes) -> None:
    put = ["kubectl", "-n", NAMESPACE, "exec", "-i", askers[-1], "-c", "box", "--", "sh", "-c"]
    subprocess.run(
        [*put, "cat > /tmp/resolve && chmod +x /tmp/resolve"], input=musl, check=True, env=lab.environment, timeout=60
    )
    for name in ("web", "web.names", "web.names.svc.cluster.local"):
        assert inside(lab, askers[-1], f"/tmp/resolve {name}", "box") == f"{WEB}\n"
    assert len(inside(lab, askers[-1], "/tmp/resolve peers", "box").split()) == len(askers)
    assert typed(lab, askers[-1], "/tmp/resolve nothing.names.svc.cluster.local", "box").returncode == 1


def test_a_changed_corefile_is_at_work_in_every_replica(lab: SmallLab, askers: list[str]) -> None:
    """By way of the ConfigMap, the kubelets and the volume; a bad one is held by the server's own tests."""
    system = ("-n", "kube-system")
    before = lab.get("configmap", "coredns", *system)["data"]["Corefile"]
    added = "errors\n    hosts {\n        203.0.113.9 added.test\n        fallthrough\n    }\n"

    def change(corefile: str) -> None:
        patch = json.dumps({"data": {"Corefile": corefile}})
        done = lab.kubectl(*system, "patch", "configmap", "coredns", "--type=merge", "-p", patch)
        assert done.returncode == 0, done.stderr
        lab.kubectl(*system, "annotate", "pods", "-l", "k8s-app=kube-dns", "--overwrite", f"look={hash(corefile)}")

    def at_work() -> bool:
        logs = lab.kubectl(*system, "logs", "-l", "k8s-app=kube-dns", "--tail=100").stdout
        return logs.count("the new Corefile is at work") >= 2

    try:
        change(before.replace("errors\n", added))
        eventually(at_work, 90, "both replicas have read it")
        assert (
            inside(lab, askers[0], "for i in 1 2 3 4 5 6; do dig +short added.test; done").split()
            == ["203.0.113.9"] * 6
        )
    finally:
        change(before)
