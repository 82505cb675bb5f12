"""The plugin as runtimes use it: every version of the specification, and chained with Debian's plugins behind it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.packages import unpacked

from clew.kernel.netlink import Netlink

pytestmark = pytest.mark.root

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
CHAIN = ("portmap", "tuning", "bandwidth", "firewall")


@pytest.fixture
def node(lab: Any) -> Any:
    made = lab.node(1)
    made.start()
    return made


def test_each_version_gets_its_own_shape(node: Any) -> None:
    """CNI specification, section 5: what came later is not shown to those who asked for less."""
    for place, version in enumerate(VERSIONS):
        pod = node.bare_pod(f"v{place}")
        status, result = node.cni("ADD", pod.container, pod.ns, cniVersion=version)
        assert (status, result["cniVersion"]) == (0, version)
        assert ("version" in result["ips"][0]) == (version < "1.0.0"), "the family of an address went with 1.0.0"
        assert ("mtu" in result["interfaces"][0]) == (version == "1.1.0")
        if version >= "0.4.0":
            assert node.cni("CHECK", pod.container, pod.ns, cniVersion=version, prevResult=result) == (0, {})
        for _ in range(2):
            assert node.cni("DEL", pod.container, pod.ns, cniVersion=version, prevResult=result) == (0, {})
    assert node.cni("STATUS", "") == (0, {})
    assert node.cni("GC", "", **{"cni.dev/valid-attachments": []}) == (0, {})
    status, found = node.cni("VERSION", "")
    assert (status, tuple(found["supportedVersions"])) == (0, VERSIONS)
    for wrong in ("0.2.0", "1.2.0", "x"):
        status, error = node.cni("ADD", "c", node.bare_pod(f"w{wrong[0]}").ns, cniVersion=wrong)
        assert (status, error["code"]) == (1, 1), "incompatible version"


def test_the_nodes_own_network_is_no_pods(node: Any) -> None:
    status, error = node.cni("ADD", "astray", node.ns)
    assert (status, error["code"]) == (1, 4)
    assert f"CNI_NETNS is '{node.ns}': the node's own network" in error["msg"]
    with Netlink(node.ns) as kernel:
        assert [link for link in kernel.links() if link.group == 147] == []


def test_what_names_no_agent_is_judged_by_this_nodes(node: Any) -> None:
    """A configuration that cannot be read names no socket; it was answered with "try again"."""
    env = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/",
        "CNI_NETNS": "/proc/self/ns/net",
    }
    for text in (b"", b'{"cniVersion": "1.1.0"', b"[]"):
        done = subprocess.run([node.root / "bin" / "clew-cni"], input=text, env=env, capture_output=True, check=False)
        error = json.loads(done.stdout)
        assert (done.returncode, error["code"]) == (1, 6)
        assert error["details"], "the agent's own words, with the place"


def test_what_is_no_network_namespace(node: Any) -> None:
    """It was the kernel's EINVAL, of a link that nobody had asked for."""
    for wrong in (Path("/etc/passwd"), Path("/dev/null"), Path("/proc/self/ns/mnt")):
        status, error = node.cni("ADD", "astray", wrong)
        assert (status, error["code"], error["msg"]) == (1, 4, f"CNI_NETNS is '{wrong}': no network namespace")


class Chain:
    """Ours first and Debian's behind it, as a runtime runs a list: results handed on, DEL in reverse order."""

    def __init__(self, node: Any, container: str, ns: Path) -> None:
        ours = json.loads(node.conflist.read_text())["plugins"][0]
        others: list[dict[str, Any]] = [
            {"type": "portmap", "backend": "iptables", "runtimeConfig": {"portMappings": []}},
            {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.arp_notify": "1"}, "mtu": 1400},
            {"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 8_000_000},
            {"type": "firewall", "backend": "iptables"},
        ]
        self._plugins = [ours, *others]
        self._node, self._container, self._ns = node, container, ns
        self._folders = {
            "clew-cni": node.root / "bin",
            **dict.fromkeys(CHAIN, unpacked("containernetworking-plugins") / "usr/lib/cni"),
        }

    def run(self, command: str) -> dict[str, Any]:
        previous = getattr(self, "result", None)
        for plugin in self._plugins if command != "DEL" else reversed(self._plugins):
            config = {**plugin, "name": "clew", "cniVersion": "1.0.0"}
            if previous:
                config["prevResult"] = previous
            answer = self._execute(command, config)
            if command == "ADD":
                previous = json.loads(answer)
        self.result: dict[str, Any] = previous or {}
        return self.result

    def _execute(self, command: str, config: dict[str, Any]) -> bytes:
        env = {
            "CNI_COMMAND": command, "CNI_CONTAINERID": self._container, "CNI_NETNS": str(self._ns),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": ":".join({str(folder) for folder in self._folders.values()}),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        }  # fmt: skip
        program = self._folders[config["type"]] / config["type"]
        done = subprocess.run(
            ["nsenter", f"--net={self._node.ns}", program], input=json.dumps(config).encode(), env=env,
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (config["type"], command, done.stdout, done.stderr)
        return done.stdout


def test_others_build_on_what_we_made(node: Any, tools: Any) -> None:
    pod, other = node.bare_pod("chained"), node.pod("plain")
    chain = Chain(node, pod.container, pod.ns)
    result = chain.run("ADD")
    address = result["ips"][0]["address"].partition("/")[0]
    with Netlink(pod.ns) as kernel:
        link = kernel.link("eth0")
        assert link is not None
        assert link.mtu == 1400, "tuning found our interface"
    assert tools.seen_source(other.ns, pod.ns, address) == other.ips[0]
    chain.run("CHECK")
    chain.run("DEL")
    chain.result = result
    chain.run("DEL")
    with Netlink(pod.ns) as kernel:
        assert kernel.link("eth0") is None
