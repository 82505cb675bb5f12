"""IPVS mode where the kernel has IPVS: the port's suite, every scenario page with real packets, and a lab of its own.

The pages come to the kernel as in a cluster: written to the real API server, heard of by the real agent of each node.

The pages' traffic between pods of one node passes a bridge, so br_netfilter is loaded as on every Kubernetes node.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.ipvs import PACKAGES
from tests.packages import unpacked
from tests.scenarios.page import sections
from tests.vm.guest import Guest
from tests.vm.labs import GuestLab, guest_lab

PAGES = (Path(__file__).parents[1] / "scenarios").glob("*.md")


@pytest.fixture(scope="module", autouse=True)
def _bridges(guest: Guest) -> None:
    guest.run("modprobe", "br_netfilter").ok()


def test_the_port_is_what_its_fake_says(guest: Guest) -> None:
    assert guest.pytest("tests/ports/ipvs").passed() == 38, "19 on the fake, 19 on the kernel"


def test_every_page_with_real_packets_through_api_server_and_agents(guest: Guest) -> None:
    pages = guest.pytest("tests/scenarios/test_agents.py", "--modes", "vm", "-vv", seconds=1500)
    assert pages.passed() == sum(bool(section.flows) for page in PAGES for section in sections(page))


def test_what_only_a_kernel_shows(guest: Guest) -> None:
    """Switches to and from the other modes among it, and what `--cleanup` takes away."""
    done = guest.pytest("tests/scenarios/test_kernel.py", "--modes", "vm", "-vv", "-k", "ipvs or cleanup", seconds=1200)
    assert done.passed() > 16


@pytest.mark.parametrize("name", ["ipvs", "ipvs_path"])
def test_the_benchmark_measures_something(guest: Guest, name: str) -> None:
    for package in PACKAGES:
        unpacked(package)  # the guest has no network
    said = guest.python("-m", "bench.one", name, "0.001", seconds=200).ok().stdout
    found = [event["figure"] for event in map(json.loads, said.splitlines()) if "figure" in event]
    assert len(found) > 3
    assert all(figure["value"] >= 0 for figure in found)
    assert any(figure.get("baseline") for figure in found)


@pytest.fixture(scope="module")
def lab(guest: Guest) -> Iterator[GuestLab]:
    with guest_lab(guest, "vmipvs", "--proxy-mode", "ipvs") as made:
        yield made


def test_a_lab_in_this_mode_serves_what_kubectl_makes(lab: GuestLab) -> None:
    address = lab.web()
    for node in ("node-1", "node-2"):
        assert "Welcome to nginx" in lab.on(node, "curl", "-s", "-m", "30", address)
        assert lab.on(node, "curl", "-s", "-m", "30", "http://127.0.0.1:10249/proxyMode") == "ipvs"
        assert f" {address}/32 " in lab.on(node, "ip", "-o", "addr", "show", "kube-ipvs0")
        assert address in lab.on(node, "ipset", "list", "KUBE-CLUSTER-IP")
    assert "Welcome to nginx" in lab.on("outside", "curl", "-s", "-m", "30", "http://172.30.0.11:30080")
    lab.kubectl("delete", "service", "web")
    gone = f"until ! ip -o addr show kube-ipvs0 | grep -q ' {address}/'; do sleep 0.2; done"
    lab.on("node-1", "timeout", "60", "sh", "-c", gone)
