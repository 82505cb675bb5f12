"""Every file of examples/networks, started: `clew up` ends well only when DNS answers from pods on every node."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.bird import ENVIRONMENT, bird_at_hand
from tests.lab.small_lab import eventually

from clew.app.network_config import BACKENDS

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples" / "networks").glob("*.yaml"))
SHOWN = {
    "host-gw": "via 172.30.0.12 dev eth0", "vxlan": "dev vxlan.clew", "cross-subnet": "dev vxlan.clew",
    "ipip": "dev tunl0", "wireguard": "dev wg.clew",
    "ipsec": "dev ipsec.clew", "bgp": "proto bird", "ospf": "proto bird", "routed": "unreachable",
    "pools": "/26",
    "top-of-rack": "proto bird", "bgp-cross-subnet": "dev vxlan.clew", "non-masquerade": "via 172.30.0.12 dev eth0",
}  # fmt: skip
RACK = ROOT / "examples/networks/top-of-rack.yaml"  # started by a test of its own
REFUSAL = "network: this kernel does not do "
WEB = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {run: web}}
  template:
    metadata: {labels: {run: web}}
    spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]}
"""

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bird")]


class Clew:
    """The command, with a home of its own."""

    def __init__(self, home: Path) -> None:
        self._program = Path(sys.executable).with_name("clew")
        self._environment = {**os.environ, "HOME": str(home), "KUBECONFIG": str(home / "config")}

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [self._program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=self._environment)

    def begins(self, *arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([self._program, *arguments], stdin=subprocess.DEVNULL, env=self._environment)

    def kubectl(self, *arguments: str) -> str:
        command = [shutil.which("kubectl") or Path(sys.executable).with_name("kubectl"), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True, env=self._environment
        ).stdout

    def asks(self, *arguments: str) -> bool:
        """Whether kubectl says yes."""
        try:
            self.kubectl(*arguments)
        except subprocess.CalledProcessError:
            return False
        return True


def left_behind() -> str:
    """Routers of these tests, and routes of any on the machine itself; other labs may come and go meanwhile."""
    looks = (("pgrep", "-f", f"{ENVIRONMENT}/bird/bird"), ("ip", "route", "show", "table", "all", "proto", "bird"))
    return "".join(subprocess.run(look, capture_output=True, text=True, check=False).stdout for look in looks)


def the_router_of_the_rack_leads_to(pods: list[str], clew: Clew, name: str, folder: Path) -> None:
    """By the lines that the example shows."""
    shown = RACK.read_text().splitlines()
    (folder / "rack.conf").write_text("\n".join(line[4:] for line in shown if line.startswith("#   ")))
    outside = ("node", "exec", "--name", name, "outside", "--")
    command = ("-f", "-c", str(folder / "rack.conf"), "-s", str(folder / "rack.ctl"))
    router = clew.begins(*outside, str(ENVIRONMENT / "bin/bird"), *command)
    try:
        look = ("ip", "route", "show", "proto", "bird")
        eventually(lambda: clew(*outside, *look).stdout.count("via") == len(pods), 60, "it learns where pods are")
        for address in pods:
            assert "Welcome to nginx" in clew(*outside, "curl", "-s", "-m", "5", address).stdout
    finally:
        router.terminate()
        router.wait(10)


@pytest.fixture(scope="module")
def bird() -> Iterator[None]:
    with bird_at_hand():
        yield


@pytest.fixture
def clew(tmp_path: Path) -> Clew:
    return Clew(tmp_path)


@pytest.mark.parametrize("file", [file for file in FILES if file != RACK], ids=lambda file: file.stem)
def test_a_lab_of_this_kind(file: Path, clew: Clew) -> None:
    name = f"net{os.getpid()}{file.stem.replace('-', '')}"
    try:
        made = clew("up", "--name", name, "--config", str(file))
        if made.returncode:
            assert REFUSAL in made.stderr, made.stderr
            assert name not in clew("ls").stdout
            return
        look = ("node", "exec", "--name", name, "node-1", "--", "ip", "route", "show", "table", "all")
        # plain routes serve until OSPF has settled, which takes it six seconds and more
        eventually(lambda: SHOWN[file.stem] in clew(*look).stdout, 60, f"{SHOWN[file.stem]} among the routes")
    finally:
        clew("down", "--name", name)


def test_a_lab_on_bgp_changes_over_while_its_agents_go_on(clew: Clew, tmp_path: Path) -> None:
    """And loses a router, and a node for a while; nothing of it stays on the machine."""
    name, nodes = f"netchange{os.getpid()}", ("node-1", "node-2")
    (tmp_path / "web.yaml").write_text(WEB)
    before = left_behind()

    def on(node: str, *command: str) -> str:
        return clew("node", "exec", "--name", name, node, "--", *command).stdout

    def pods(kind: str, field: str) -> list[str]:
        shown = f"jsonpath={{.items[*].{field}}}"
        return clew.kubectl("get", "pods", "-A", "-l", kind, "-o", shown).split()

    def all_answer() -> bool:
        names, addresses = pods("run=web", "metadata.name"), pods("run=web", "status.podIP")
        ask = "curl -s -m 2 -o /dev/null"
        return len(addresses) == len(nodes) and all(
            clew.asks("exec", each, "--", *ask.split(), address) for each in names for address in addresses
        )

    try:
        assert clew("up", "--name", name, "--config", str(RACK)).returncode == 0
        agents = pods("k8s-app=clew-agent", "status.containerStatuses[*].state.running.startedAt")
        clew.kubectl("apply", "-f", str(tmp_path / "web.yaml"))
        clew.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
        for node in nodes:
            eventually(lambda: "proto bird" in on(node, "ip", "route"), what=f"{node} is told")  # noqa: B023
        the_router_of_the_rack_leads_to(pods("run=web", "status.podIP"), clew, name, tmp_path)
        on("node-2", "pkill", "-KILL", "-x", "bird")
        assert all_answer(), "its neighbours wait for it, and its own routes stay"
        ask = (str(ENVIRONMENT / "bin/birdc"), "-s", "/var/lib/clew-agent/bird/bird.ctl", "show", "protocols")
        eventually(lambda: "Established" in on("node-2", *ask), 60, "it is back")
        for backend, shown in (("vxlan", "dev vxlan.clew"), ("host-gw", "dev eth0")):
            made = clew("up", "--name", name, "--network", backend)
            assert f"the nodes change over to network {backend}" in made.stdout + made.stderr
            for node in nodes:
                eventually(lambda: shown in on(node, "ip", "route", "show", "proto", "147"), what=f"{node}: {backend}")  # noqa: B023
        assert clew("up", "--name", name).returncode == 0, "DNS answers on both"
        assert pods("k8s-app=clew-agent", "status.containerStatuses[*].state.running.startedAt") == agents
        serving = pods("k8s-app=kube-dns", "spec.nodeName")
        off = next(each for each in ("node-2", "node-1") if set(serving) != {each})  # DNS has to answer meanwhile
        assert clew("node", "stop", "--name", name, off).returncode == 0
        assert clew("up", "--name", name, "--network", "bgp", "--nodes", "2").returncode == 0
        assert clew("node", "start", "--name", name, off).returncode == 0
        assert clew("up", "--name", name).returncode == 0, "a node that was off follows when it is on"
        eventually(lambda: "proto bird" in on(off, "ip", "route"), what="it is told")
        eventually(all_answer, 60, "its pods are back")
        wrong = clew("up", "--name", name, "--nodes", "3", "--network", "vxlan")
        assert f"lab {name} is there with other nodes" in wrong.stderr
    finally:
        clew("down", "--name", name)
    assert left_behind() == before


def test_each_backend_has_its_file() -> None:
    assert {file.stem for file in FILES} >= set(BACKENDS)
    assert {file.stem for file in FILES} == set(SHOWN)
    readme = (ROOT / "examples" / "networks" / "README.md").read_text()
    assert set(re.findall(r"\]\(([\w-]+\.yaml)\)", readme)) == {file.name for file in FILES}
