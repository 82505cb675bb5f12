"""The lab itself on the kernel of Debian 12's users: Linux 6.1, control groups version 2 and nothing of version 1."""

from collections.abc import Iterator

import pytest
from tests.vm.guest import Guest
from tests.vm.labs import KUBECONFIG, GuestLab, guest_lab

WELCOME = "Welcome to nginx"


@pytest.fixture(scope="module")
def lab(guest: Guest) -> Iterator[GuestLab]:
    with guest_lab(guest, "vm") as made:
        yield made


@pytest.fixture(scope="module")
def web(lab: GuestLab) -> str:
    """The service's address, its pods ready."""
    return lab.web()


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_a_service_answers_on_every_node(lab: GuestLab, web: str, node: str) -> None:
    assert WELCOME in lab.on(node, "curl", "-s", "-m", "30", web)


def test_pods_reach_each_other_and_the_service_by_name(lab: GuestLab, web: str) -> None:
    line = "jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {end}"
    first, _, _, address = lab.kubectl("get", "pods", "-l", "run=web", "-o", line).split()
    names = ["web.default.svc.cluster.local"] * 6  # of the DNS pods one is on the same node: both have to be heard
    for target in (address, web, *names):
        assert WELCOME in lab.kubectl("exec", first, "--", "curl", "-s", "-m", "30", target), target


@pytest.mark.usefixtures("lab")
def test_bridges_are_filtered_in_nodes_and_not_on_the_machine_itself(lab: GuestLab) -> None:
    """The kernel's module is switched on wherever it comes: it was not there, and is for the lab's nodes alone."""
    ask = ("sysctl", "-n", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
    assert lab.run(*ask).ok().stdout.split() == ["0", "0"]
    assert lab.on("node-1", *ask[:3]).split() == ["1"]


@pytest.mark.usefixtures("web")
def test_limits_are_set_in_control_groups_of_version_two(lab: GuestLab) -> None:
    limits = lab.run("sh", "-c", "cat $(find /sys/fs/cgroup -name memory.max) | grep -v max").ok().stdout.split()
    assert limits.count(str(61 << 20)) >= 2


def test_nothing_of_the_lab_is_open_to_others(lab: GuestLab) -> None:
    """Sockets, keys and kubeconfigs are root's alone, and so is the folder with everything else."""
    look = "find /run/clew /var/lib/clew -xdev -type s -perm /077; find /var/lib/clew/vm -maxdepth 0 -perm /077"
    assert lab.run("sh", "-c", look).ok().stdout == ""
    keys = f"stat -c '%a %n' /var/lib/clew/vm/pki/* /var/lib/clew/vm/kubeconfig.json {KUBECONFIG}"
    listed = lab.run("sh", "-c", keys).ok().stdout.splitlines()
    assert len(listed) > 5
    assert [line for line in listed if not line.startswith("600 ")] == []
