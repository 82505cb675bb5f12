"""Mode ebpf on Linux 6.1 with cgroup v2 only, where connection tracking is modules: its own tests, and a lab.

Pods whose sockets are not asked pass a bridge, so br_netfilter is loaded as on every Kubernetes node.
"""

from collections.abc import Iterator

import pytest
from tests.vm.guest import Guest
from tests.vm.labs import GuestLab, guest_lab


@pytest.fixture(scope="module", autouse=True)
def _bridges(guest: Guest) -> None:
    guest.run("modprobe", "br_netfilter").ok()


def test_what_only_a_kernel_shows(guest: Guest) -> None:
    """Programs that call functions of modules among it."""
    scenarios = ("tests/scenarios/test_ebpf.py", "tests/scenarios/test_ebpf_clients.py")
    done = guest.pytest("tests/ports/bpf/test_kernel_functions.py", *scenarios, seconds=600)
    assert done.passed() > 40


@pytest.fixture(scope="module")
def lab(guest: Guest) -> Iterator[GuestLab]:
    with guest_lab(guest, "vmebpf", "--proxy-mode", "ebpf") as made:
        yield made


def test_a_lab_in_this_mode_serves_what_kubectl_makes(lab: GuestLab) -> None:
    address = lab.web()
    for node in ("node-1", "node-2"):
        assert "Welcome to nginx" in lab.on(node, "curl", "-s", "-m", "30", address)
        assert lab.on(node, "curl", "-s", "-m", "30", "http://127.0.0.1:10249/proxyMode") == "ebpf"
        assert "clew_services" in lab.on(node, "tc", "filter", "show", "dev", "eth0", "ingress")
    first, _ = lab.kubectl("get", "pods", "-l", "run=web", "-o", "name").split()
    assert "Welcome to nginx" in lab.kubectl("exec", first, "--", "curl", "-s", "-m", "30", address)
    assert "Welcome to nginx" in lab.on("outside", "curl", "-s", "-m", "30", "http://172.30.0.11:30080")
