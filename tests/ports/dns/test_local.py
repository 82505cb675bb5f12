"""The node-local cache in a namespace: it takes the questions for a service's address while it runs, and no longer.

The service is a second server behind a DNAT rule, as a service proxy makes one.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clew.kernel import netns

pytestmark = pytest.mark.root

VIP, BEHIND, NODE = "10.96.0.10", "10.9.9.9", "169.254.20.10"
SERVICE_NAT = f"""
table ip nat {{
  chain output {{
    type nat hook output priority -100;
    ip daddr {VIP} meta l4proto {{ tcp, udp }} th dport 53 dnat to {BEHIND}:53
  }}
}}
"""


def corefile(answer: str, *addresses: str) -> str:
    return f".:53 {{\n bind {' '.join(addresses)}\n hosts {{\n {answer} who.test\n }}\n}}\n"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "node"
    netns.create(path)
    try:
        for line in ("ip link set lo up", f"ip address add {BEHIND}/32 dev lo", f"ip route add {VIP} dev lo"):
            inside(path, *line.split())
        subprocess.run(["nsenter", f"--net={path}", "nft", "-f", "-"], input=SERVICE_NAT, text=True, check=True)
        yield path
    finally:
        netns.delete(path)


def inside(node: Path, *command: str) -> str:
    done = subprocess.run(
        ["nsenter", f"--net={node}", *command], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )  # fmt: skip
    return done.stdout + done.stderr


@contextmanager
def server(node: Path, conf: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", "from clew.cli.main import main; main()", "dns", "--conf", conf, *options]
    process = subprocess.Popen(["nsenter", f"--net={node}", *command])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def who(node: Path, address: str = VIP, *options: str) -> str:
    return inside(node, "dig", "+short", "+time=15", "+tries=1", *options, f"@{address}", "who.test").strip()


def eventually(node: Path, expected: str, address: str = VIP) -> None:
    end = time.monotonic() + 60
    while who(node, address, "+time=1") != expected:
        assert time.monotonic() < end


def test_questions_stay_on_the_node_while_the_cache_lives_and_go_to_the_service_after(
    node: Path, tmp_path: Path
) -> None:
    service, local = tmp_path / "service", tmp_path / "local"
    service.write_text(corefile("192.0.2.1", BEHIND))
    local.write_text(corefile("192.0.2.2", NODE, VIP))
    with server(node, service):
        eventually(node, "192.0.2.1")
        for kill in ("kill", "terminate"):
            with server(node, local, "--localip", f"{NODE},{VIP}") as cache:
                eventually(node, "192.0.2.2")
                assert who(node, VIP, "+tcp") == "192.0.2.2"
                assert who(node, NODE) == "192.0.2.2"
                getattr(cache, kill)()
                cache.wait(60)
                assert [who(node, VIP, way) for way in ("+notcp", "+tcp")] == ["192.0.2.1"] * 2, kill
        assert NODE not in inside(node, "ip", "address", "show", "lo"), "an orderly end leaves nothing"
        assert "clew-dns-local" not in inside(node, "nft", "list", "tables")


def test_what_is_no_address_is_refused(node: Path, tmp_path: Path) -> None:
    conf = tmp_path / "Corefile"
    conf.write_text(corefile("192.0.2.2", NODE))
    command = [sys.executable, "-c", "from clew.cli.main import main; main()", "dns", "--conf", str(conf)]
    said = inside(node, *command, "--localip", "169.254.20")
    assert "--localip: '169.254.20' is no address" in said
    assert "Traceback" not in said
