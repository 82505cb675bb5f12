"""Every way between nodes that needs another kernel than most machines' own: real agents, and then whole labs."""

from collections.abc import Iterator

import pytest
from tests.vm.guest import Guest
from tests.vm.labs import GuestLab, guest_lab

SHOWN = {"ipip": "tunl0", "wireguard": "wg.clew", "ipsec": "ipsec.clew"}


def test_what_is_promised_of_each(guest: Guest) -> None:
    guest.run("modprobe", "-a", "ipip", "wireguard", "esp4", "xfrm_interface", "br_netfilter").ok()
    guest.pytest("tests/ports/node/tunnels_of_other_kernels.py", seconds=1700).ok()


@pytest.fixture(params=["ipip", "wireguard", "ipsec"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lab(guest: Guest, backend: str) -> Iterator[GuestLab]:
    with guest_lab(guest, f"vm{backend}", "--network", backend) as made:
        yield made


def test_pods_of_a_lab_reach_each_other_across_nodes(lab: GuestLab, backend: str) -> None:
    address = lab.web()
    names = lab.kubectl(
        "get", "pods", "-l", "run=web", "-o", "jsonpath={range .items[*]}{.metadata.name} {end}"
    ).split()
    nodes = lab.kubectl("get", "pods", "-l", "run=web", "-o", "jsonpath={.items[*].spec.nodeName}").split()
    addresses = lab.kubectl("get", "pods", "-l", "run=web", "-o", "jsonpath={.items[*].status.podIP}").split()
    assert sorted(nodes) == ["node-1", "node-2"]
    for name, other in zip(names, reversed(addresses), strict=True):
        assert "Welcome to nginx" in lab.kubectl("exec", name, "--", "curl", "-s", "-m", "30", other)
    assert "Welcome to nginx" in lab.on("node-1", "curl", "-s", "-m", "30", address)
    assert f"dev {SHOWN[backend]}" in lab.on("node-1", "ip", "route", "show", "proto", "147")
