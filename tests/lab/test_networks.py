"""Every file of examples/networks, started: `clew up` ends well only when DNS answers from pods on every node."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.lab.small_lab import eventually

from clew.app.network_config import BACKENDS

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples" / "networks").glob("*.yaml"))
SHOWN = {
    "host-gw": "via 172.30.0.12 dev eth0", "vxlan": "dev vxlan.clew", "cross-subnet": "dev vxlan.clew",
    "ipip": "dev tunl0", "wireguard": "dev wg.clew",
    "ipsec": "dev ipsec.clew", "bgp": "proto bird", "ospf": "proto bird", "routed": "unreachable",
    "pools": "/26",
    "bgp-cross-subnet": "dev vxlan.clew", "non-masquerade": "via 172.30.0.12 dev eth0",
}  # fmt: skip
REFUSAL = re.compile(r"network: (this kernel does not do \S+|\S+ needs the program bird)")

pytestmark = pytest.mark.root


class Clew:
    """The command, with a home of its own."""

    def __init__(self, home: Path) -> None:
        self._environment = {**os.environ, "HOME": str(home), "KUBECONFIG": str(home / "config")}

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [Path(sys.executable).with_name("clew"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=self._environment)

    def kubectl(self, *arguments: str) -> str:
        command = [shutil.which("kubectl") or Path(sys.executable).with_name("kubectl"), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True, env=self._environment
        ).stdout


@pytest.fixture
def clew(tmp_path: Path) -> Clew:
    return Clew(tmp_path)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_lab_of_this_kind(file: Path, clew: Clew) -> None:
    name = f"net{file.stem.replace('-', '')}"
    try:
        made = clew("up", "--name", name, "--config", str(file))
        if made.returncode:
            assert REFUSAL.search(made.stderr), made.stderr
            assert name not in clew("ls").stdout
            return
        routes = clew("node", "exec", "--name", name, "node-1", "--", "ip", "route", "show", "table", "all")
        assert SHOWN[file.stem] in routes.stdout
    finally:
        clew("down", "--name", name)


def test_a_lab_that_runs_changes_over_and_its_agents_go_on(clew: Clew) -> None:
    name = "netchange"

    def on(node: str, *command: str) -> str:
        return clew("node", "exec", "--name", name, node, "--", *command).stdout

    def agents() -> str:
        """When each began."""
        shown = "jsonpath={.items[*].status.containerStatuses[*].state.running.startedAt}"
        return clew.kubectl("get", "pods", "-n", "kube-system", "-l", "k8s-app=clew-agent", "-o", shown)

    try:
        assert clew("up", "--name", name, "--nodes", "2", "--network", "host-gw").returncode == 0
        before = agents()
        for backend, shown in (("vxlan", "dev vxlan.clew"), ("host-gw", "dev eth0")):
            made = clew("up", "--name", name, "--network", backend)
            assert f"the nodes change over to network {backend}" in made.stdout + made.stderr
            for node in ("node-1", "node-2"):
                eventually(lambda: shown in on(node, "ip", "route", "show", "proto", "147"), what=f"{node}: {backend}")  # noqa: B023
        assert clew("up", "--name", name).returncode == 0, "DNS answers on both"
        assert agents() == before
        shown = "jsonpath={.items[*].spec.nodeName}"
        serving = clew.kubectl("get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", "-o", shown).split()
        off = next(each for each in ("node-2", "node-1") if set(serving) != {each})  # DNS has to answer meanwhile
        assert clew("node", "stop", "--name", name, off).returncode == 0
        assert clew("up", "--name", name, "--network", "vxlan", "--nodes", "2").returncode == 0
        assert clew("node", "start", "--name", name, off).returncode == 0
        assert clew("up", "--name", name).returncode == 0, "a node that was off follows when it is on"
        assert "dev vxlan.clew" in on(off, "ip", "route", "show", "proto", "147")
        wrong = clew("up", "--name", name, "--nodes", "3", "--network", "vxlan")
        assert f"lab {name} is there with other nodes" in wrong.stderr
    finally:
        clew("down", "--name", name)


def test_each_backend_has_its_file() -> None:
    assert {file.stem for file in FILES} >= set(BACKENDS)
    assert {file.stem for file in FILES} == set(SHOWN)
    readme = (ROOT / "examples" / "networks" / "README.md").read_text()
    assert set(re.findall(r"\]\(([\w-]+\.yaml)\)", readme)) == {file.name for file in FILES}
