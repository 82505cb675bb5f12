"""The host is as it was: after up and down, after a death of everything, and after an up that failed.

Each in a machine of its own (machine.py says which parts of it are), looked at whole (snapshot.py says what is not).
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from clew.dataplane.ebpf import facility
from clew.kernel import bpf
from clew.kernel.bpf.programs import KINDS
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Netlink

from .machine import CLEW, HOME, Machine, machine
from .small_lab import eventually

pytestmark = pytest.mark.root

FOREIGN = """\
apiVersion: v1
kind: Config
current-context: work
clusters:
- name: work
  cluster:
    server: https://work  # not ours
users: []
contexts:
- name: work
  context:
    cluster: work
    user: work
preferences: {}
"""
PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 80, hostPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
"""
BUSY = "until kubectl wait --for=condition=Ready pod/web --timeout=30s; do :; done"
WHERE = ("/var/lib/clew", "/run/clew", "/var/log/clew", f"{HOME}/.kube/config")  # a lab's files
BPF = ("bpf programs", "bpf links")


@pytest.fixture
def host() -> Iterator[Machine]:
    """A machine whose user has a kubeconfig, a firewall and an interface."""
    with machine() as made:
        made.python(
            "import os, sys; os.mkdir(sys.argv[1]); open(sys.argv[1] + '/config', 'w').write(sys.argv[2])",
            f"{HOME}/.kube", FOREIGN,
        )  # fmt: skip
        made.well("nft", "add table inet mine; add chain inet mine in { type filter hook input priority 0; }")
        made.well("ip", "link", "add", "mine0", "type", "veth", "peer", "name", "mine1")
        made.well("ip", "address", "add", "10.96.0.10/24", "dev", "mine0")  # even where the lab has the same range
        made.well("ip", "link", "set", "mine0", "up")
        yield made


def compare(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, list[str]]:
    """What came and went, by category."""
    found = {}
    for name, lines in before.items():
        came = [f"+ {line}" for line in after[name] if line not in lines]
        gone = [f"- {line}" for line in lines if line not in after[name]]
        if came or (gone and name not in BPF):  # others' programs may end meanwhile
            found[name] = came + gone
    return found


def foreign_bpf() -> set[str]:
    """Programs and links that others hold: living processes of this machine, and control groups and devices of labs.

    The test's own machine has none any more.
    """
    held = {*in_groups(), *at_devices()}
    for info in Path("/proc").glob("[0-9]*/fdinfo/*"):
        try:
            lines = info.read_text().splitlines()
        except OSError:
            continue
        held.update(line.split()[-1] for line in lines if line.startswith(("prog_id", "link_id")))
    return held


def in_groups() -> Iterator[str]:
    """What is held by the control groups of labs of this machine, and of other tests' machines."""
    root = facility.cgroup_root()
    tops = [] if root is None else [*root.glob("clew"), *root.glob("machine-*")]
    for top in tops:
        if top.name.startswith(f"machine-{os.getpid()}-"):
            continue
        for group in (top, *(each for each in top.rglob("*") if each.is_dir())):
            for kind in KINDS:
                with suppress(KernelError):  # it has ended meanwhile
                    for each in bpf.held(group, kind) if kind != "tc" else ():
                        yield str(each.id)
                        each.close()


def at_devices() -> Iterator[str]:
    """What is held by the links of nodes of labs of this machine."""
    for path in Path("/run/clew").glob("*/netns/*"):
        with suppress(KernelError, OSError), Netlink(path) as kernel:
            for link in kernel.links():
                yield from (str(each.program_id) for each in kernel.filters(link.name))


def assert_untouched(host: Machine, before: dict[str, list[str]]) -> None:
    """Namespaces and BPF programs end a moment after what holds them; the rest is gone when the command returns."""
    found: dict[str, list[str]] = {}

    def untouched() -> bool:
        nonlocal found
        found = compare(before, host.snapshot())
        for name in BPF:
            if name in found:
                foreign = foreign_bpf()
                found[name] = [line for line in found[name] if line[2:] not in foreign]
        found = {name: lines for name, lines in found.items() if lines}
        return not set(found) - {*BPF, "namespaces"} and not found

    assert not set(compare(before, host.snapshot())) - {*BPF, "namespaces"}
    eventually(untouched, 20, f"the rest is gone: {found}")


def look(host: Machine) -> dict[str, list[str]]:
    """The second look: the first one may load what it looks at."""
    host.snapshot()
    return host.snapshot()


def test_up_work_and_down_leave_nothing(host: Machine) -> None:
    before = look(host)
    assert host.clew("up", "--ip-family", "dual", "--proxy-mode", "ebpf").returncode == 0
    host.run("kubectl", "apply", "-f", "-", text=PODS)
    host.well("sh", "-c", BUSY)
    host.does("node", "cut", "node-2")
    host.does("node", "stop", "node-3")
    host.does("node", "exec", "outside", "--", "ip", "link")
    during = compare(before, host.snapshot())
    # the lab is to be seen where it may be, and nowhere else even while it runs
    assert set(during) <= {"mounts", "control groups", "processes", "namespaces", "sockets", "files", *BPF}
    assert not [line for line in during["files"] if not line[2:].startswith(WHERE)]
    listening = [line for line in during["sockets"] if not line.startswith("+ unix /run/clew/clew/")]
    assert [line.split(":")[0] for line in listening] == ["+ tcp 0100007F"]  # 127.0.0.1
    assert host.does("down") == "lab clew is removed\n"
    assert_untouched(host, before)


def test_a_death_of_everything_and_down_leave_nothing(host: Machine) -> None:
    before = look(host)
    assert host.clew("up", "--nodes", "2", "--proxy-mode", "ebpf").returncode == 0
    host.kill_everything()
    assert host.does("down") == "lab clew is removed\n"
    assert_untouched(host, before)


def test_an_up_that_is_killed_half_way_is_cleared_by_down(host: Machine) -> None:
    before = look(host)
    host.run(
        "sh",
        "-c",
        f"{CLEW} up & timeout 60 sh -c 'until [ -e /run/clew/clew/netns/node-1 ]; do sleep 0.05; done'; kill -9 -1",
    )
    host.does("down")
    assert_untouched(host, before)
