"""IPVS mode where the kernel has IPVS: the port's suite, every scenario page with real packets, and a lab of its own.

The pages' traffic between pods of one node passes a bridge, so br_netfilter is loaded as on every Kubernetes node.
"""

import json
import re
from collections.abc import Iterator

import pytest
from bench.ipvs import unpack
from tests.vm.guest import Done, Guest

NAME = "vmipvs"
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {run: web}}
  template:
    metadata: {labels: {run: web}}
    spec:
      containers:
      - {name: web, image: nginx, ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {run: web}, ports: [{port: 80, nodePort: 30080}]}
"""


@pytest.fixture(scope="module", autouse=True)
def _bridges(guest: Guest) -> None:
    guest.run("modprobe", "br_netfilter").ok()


def passed(done: Done) -> int:
    """How many tests ran; all of them well."""
    counted = re.search(r"(\d+) passed", done.ok().stdout)
    return int(counted[1]) if counted else 0


def test_the_port_is_what_its_fake_says(guest: Guest) -> None:
    assert passed(guest.pytest("tests/ports/ipvs")) == 38, "19 on the fake, 19 on the kernel"


def test_every_page_with_real_packets(guest: Guest) -> None:
    pages = ("tests/scenarios/test_packets.py", "tests/scenarios/test_kernel.py")
    assert passed(guest.pytest(*pages, "--modes", "vm", "-k", "ipvs", seconds=1200)) > 60


def test_the_benchmark_measures_something(guest: Guest) -> None:
    """The part of bench/ipvs that runs in the guest."""
    tools = guest.share / "tools"
    tools.mkdir()
    unpack(tools)
    said = guest.python("-m", "bench.ipvs_inside", "10", "/guest/tools", seconds=200).ok().stdout
    found = json.loads(said.splitlines()[-1])
    assert set(found) > {"whole", "one", "whole restored", "one restored"}
    assert all(value >= 0 for value in found.values())


class Lab:
    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def run(self, *command: str, seconds: float = 120) -> Done:
        return self._guest.run(*command, seconds=seconds, environment={"CLEW_NAME": NAME})

    def kubectl(self, *arguments: str, seconds: float = 120) -> str:
        return self.run("kubectl", *arguments, seconds=seconds).ok().stdout

    def on(self, node: str, *command: str) -> str:
        return self.run("clew", "node", "exec", node, "--", *command).ok().stdout


@pytest.fixture(scope="module")
def lab(guest: Guest) -> Iterator[Lab]:
    made = Lab(guest)
    made.run("clew", "up", "--nodes", "2", "--proxy-mode", "ipvs", "--wait", "500", seconds=520).ok()
    yield made
    made.run("clew", "down").ok()
    assert "kube-ipvs0" not in made.run("sh", "-c", "ip -o link").stdout, "the host's own network was never touched"


def test_a_lab_in_this_mode_serves_what_kubectl_makes(lab: Lab, guest: Guest) -> None:
    (guest.share / "web.yaml").write_text(WEB)
    lab.kubectl("apply", "-f", "/guest/web.yaml")
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=200s", seconds=220)
    address = lab.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    for node in ("node-1", "node-2"):
        assert "Welcome to nginx" in lab.on(node, "curl", "-s", "-m", "30", address)
        assert lab.on(node, "curl", "-s", "-m", "30", "http://127.0.0.1:10249/proxyMode") == "ipvs"
        assert f" {address}/32 " in lab.on(node, "ip", "-o", "addr", "show", "kube-ipvs0")
        assert address in lab.on(node, "ipset", "list", "KUBE-CLUSTER-IP")
    assert "Welcome to nginx" in lab.on("outside", "curl", "-s", "-m", "30", "http://172.30.0.11:30080")
    lab.kubectl("delete", "service", "web")
    gone = "until ! ip -o addr show kube-ipvs0 | grep -q '$0'; do sleep 0.2; done".replace("$0", f" {address}/")
    lab.run("clew", "node", "exec", "node-1", "--", "timeout", "60", "sh", "-c", gone).ok()
