"""Every file of examples/networks, started: `clew up` ends well only when DNS answers from pods on every node."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clew.app.network_config import BACKENDS

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples" / "networks").glob("*.yaml"))
SHOWN = {
    "host-gw": "via 172.30.0.12 dev eth0", "vxlan": "dev vxlan.clew", "cross-subnet": "dev vxlan.clew",
    "ipip": "dev tunl0", "wireguard": "dev wg.clew", "bgp": "proto bird", "ospf": "proto bird", "routed": "unreachable",
    "pools": "/26",
    "non-masquerade": "via 172.30.0.12 dev eth0",
}  # fmt: skip
REFUSAL = re.compile(r"network: (this kernel does not do \S+|\S+ needs the program bird)")

pytestmark = pytest.mark.root


Clew = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def clew(tmp_path: Path) -> Clew:
    """The command, with a home of its own."""
    environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "config")}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [Path(sys.executable).with_name("clew"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)

    return run


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


def test_each_backend_has_its_file() -> None:
    assert {file.stem for file in FILES} >= set(BACKENDS)
    assert {file.stem for file in FILES} == set(SHOWN)
    readme = (ROOT / "examples" / "networks" / "README.md").read_text()
    assert set(re.findall(r"\]\(([\w-]+\.yaml)\)", readme)) == {file.name for file in FILES}
