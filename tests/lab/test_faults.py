"""`clew up` that cannot succeed: one line that says what to do, exit 1, and nothing left. Each fault is a real one."""

from collections.abc import Iterator

import pytest

from .machine import CLEW, HOME, Machine, machine
from .small_lab import Done, eventually

pytestmark = pytest.mark.root
LEFT = ("files", "processes", "mounts", "control groups", "sockets", "links")
HELD = "open('/run/held', 'w').close(); input()"
LOCK = f"import fcntl, sys; fcntl.flock(f := open(sys.argv[1], 'w'), 2); {HELD}"
LISTEN = f"import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); {HELD}"


@pytest.fixture
def host() -> Iterator[Machine]:
    with machine(var_size="64m") as made:
        made.well("mkdir", "-p", f"{HOME}/.kube")
        yield made


def refused(done: Done, *words: str) -> None:
    """One line of complaint with these words in it, a remedy among them, and no traceback."""
    assert done.returncode == 1, done
    lines = [line for line in done.stderr.splitlines() if not line.startswith(" ")]  # progress is indented
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("clew: ")
    for word in (*words, "(", ")"):
        assert word in lines[0]


def nothing_left(host: Machine, before: dict[str, list[str]]) -> None:
    after = host.snapshot(*LEFT)
    for name in LEFT:
        assert after[name] == before[name], name


def hold(host: Machine, script: str, argument: str) -> None:
    """A process that has done the script's first half and waits."""
    host.background(f'sleep 1000 | python3 -c "{script}" {argument}')
    host.well("sh", "-c", "timeout 20 sh -c 'until [ -e /run/held ]; do sleep 0.05; done'")


def let_go(host: Machine) -> None:
    host.run("pkill", "sleep")  # in the machine's own process namespace
    host.well("rm", "/run/held")
    eventually(lambda: not any("sys.argv" in each for each in host.snapshot("processes")["processes"]))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("podCIDR: 10.96.0.0/16", ("podCIDR 10.96.0.0/16 and serviceCIDR 10.96.0.0/12 overlap",)),
        ("nodes: [{name: a, maxpods: 1}]", ("nodes[0].maxpods", "maxPods")),
        ("network: nope", ("network.backend", "host-gw")),
    ],
)
def test_a_wrong_file(host: Machine, fields: str, words: tuple[str, ...]) -> None:
    before = host.snapshot(*LEFT)
    host.write("/run/lab.yaml", f"kind: Lab\n{fields}\n")
    refused(host.clew("up", "--config", "/run/lab.yaml"), "/run/lab.yaml", *words)
    host.well("rm", "/run/lab.yaml")
    nothing_left(host, before)


@pytest.mark.parametrize(("program", "package"), [("nft", "nftables"), ("runc", "runc")])
def test_a_program_that_is_not_installed(host: Machine, program: str, package: str) -> None:
    path = host.well("which", program).strip()
    host.well("mount", "--bind", "/dev/null", path)
    try:
        before = host.snapshot(*LEFT)
        refused(host.clew("up"), program, f"apt-get install {package}")
        nothing_left(host, before)
    finally:
        host.well("umount", path)


def test_a_mode_that_this_machine_cannot_run(host: Machine) -> None:
    """Said at once; it once took 90 s to learn that DNS does not answer."""
    for program in ("iptables", "iptables-legacy"):
        real = host.run("readlink", "-f", f"/usr/sbin/{program}").stdout.strip()
        host.run("mount", "--bind", "/dev/null", real)
    before = host.snapshot(*LEFT)
    refused(host.clew("up", "--proxy-mode", "iptables"), "mode iptables: no iptables here", "choose another mode")
    nothing_left(host, before)


def test_not_root(host: Machine) -> None:
    before = host.snapshot(*LEFT)
    for command in (("up",), ("down",), ("status",), ("ls",), ("node", "exec", "node-1", "--", "true")):
        refused(host.run("setpriv", "--reuid=65534", "--clear-groups", CLEW, *command), "root", "sudo")
    nothing_left(host, before)


def test_another_command_at_work(host: Machine) -> None:
    """The lock is the kernel's: it ends with its holder, and a lock file that was left behind holds nobody up."""
    host.well("mkdir", "/run/clew")
    hold(host, LOCK, "/run/clew/clew.lock")
    before = host.snapshot(*LEFT)
    for command in (("up",), ("down",), ("node", "cut", "node-1")):
        refused(host.clew(*command), "another command is at work on lab clew", "wait for it")
    nothing_left(host, before)
    let_go(host)
    eventually(lambda: host.clew("down").stdout == "there is no lab clew\n", what="the lock is free")


def test_a_second_up_while_one_runs(host: Machine) -> None:
    before = host.snapshot(*LEFT)
    host.background(f"{CLEW} up --nodes 1 && touch /run/up")
    host.well("sh", "-c", "timeout 20 sh -c 'until [ -s /run/clew/clew.lock ]; do sleep 0.01; done'")
    refused(host.clew("up", "--nodes", "1"), "another command is at work", "process")
    host.well("sh", "-c", "timeout 90 sh -c 'until [ -e /run/up ]; do sleep 0.1; done'")
    assert host.clew("up", "--nodes", "1").returncode == 0  # what is there already is fine
    refused(host.clew("up", "--nodes", "2"), "lab clew is there with other nodes", "clew down")
    host.does("down")
    host.well("rm", "/run/up")
    nothing_left(host, before)


@pytest.mark.parametrize(("number", "status"), [("INT", "130"), ("TERM", "143")])
def test_an_up_that_is_interrupted(host: Machine, number: str, status: str) -> None:
    before = host.snapshot(*LEFT)
    host.background(f"{CLEW} up --nodes 1 2>/run/said; echo $? >/run/status")
    host.well("sh", "-c", "timeout 20 sh -c 'until [ -e /run/clew/clew/daemon.pid ]; do sleep 0.05; done'")
    host.well("kill", f"-{number}", host.read("/run/clew/clew.lock").strip())  # its holder
    host.well("sh", "-c", "timeout 60 sh -c 'until [ -s /run/status ]; do sleep 0.1; done'")
    assert host.read("/run/status").strip() == status, host.read("/run/said")
    assert "taking back what was made" in host.read("/run/said")
    host.well("rm", "/run/status", "/run/said")
    nothing_left(host, before)


@pytest.mark.parametrize("left", [0, 3000])
def test_a_full_disk(host: Machine, left: int) -> None:
    """With `left` KiB free."""
    before = host.snapshot(*LEFT)
    fill(host, left)
    refused(host.clew("up"), "No space left on device", "/var/lib/clew/clew")
    host.well("rm", "/var/full")
    nothing_left(host, before)


def test_a_disk_that_fills_up_in_the_middle(host: Machine) -> None:
    """Nothing gets ready then, and that is said long before the ninety seconds are over."""
    before = host.snapshot(*LEFT)
    host.background(f"{CLEW} up --nodes 1 2>/run/said; echo $? >/run/status")
    host.well("sh", "-c", "timeout 20 sh -c 'until [ -e /run/clew/clew/daemon.pid ]; do sleep 0.05; done'")
    host.run("dd", "if=/dev/zero", "of=/var/full", "bs=64k")  # whatever goes in beside the daemon's own
    host.well("sh", "-c", "timeout 60 sh -c 'until [ -s /run/status ]; do sleep 0.1; done'")
    status, said = host.read("/run/status"), host.read("/run/said")
    host.well("rm", "/var/full", "/run/status", "/run/said")
    refused(Done((), int(status), "", said))
    nothing_left(host, before)


def fill(host: Machine, left: int) -> None:
    """The disk, up to `left` KiB."""
    free = int(host.well("sh", "-c", "df --output=avail -k /var | tail -1"))
    host.well("fallocate", "-l", f"{free - left}K", "/var/full")


@pytest.mark.parametrize(
    ("place", "text", "words"),
    [
        (f"{HOME}/.kube/config", "clusters: [", ("is no kubeconfig", "line 1", "KUBECONFIG")),
        ("/run/not-a-folder", "", ("/run/not-a-folder/config", "KUBECONFIG")),
    ],
)
def test_a_kubeconfig_that_cannot_be_written(host: Machine, place: str, text: str, words: tuple[str, ...]) -> None:
    host.write(place, text)
    before = host.snapshot(*LEFT)
    config = place if text else f"{place}/config"
    refused(host.clew("up", "--nodes", "1", KUBECONFIG=config), *words)
    nothing_left(host, before)
    host.well("rm", place)


def test_a_damaged_lab_says_so_and_can_be_removed(host: Machine) -> None:
    before = host.snapshot(*LEFT)
    host.well("mkdir", "-p", "/var/lib/clew/clew")
    host.write("/var/lib/clew/clew/lab.json", "{")
    refused(host.clew("up"), "lab.json is damaged", "clew down --name clew")
    assert "broken" in host.does("ls")
    host.does("down", "--all")
    nothing_left(host, before)


def test_a_port_that_another_program_took_meanwhile(host: Machine) -> None:
    before = host.snapshot(*LEFT)
    host.does("up", "--nodes", "1")
    host.well("sh", "-c", "kill -9 $(cat /run/clew/clew/daemon.pid)")
    process = "/proc/$(cat /run/clew/clew/daemon.pid)/cmdline"  # it takes its time to die, and its port with it
    host.well("sh", "-c", f"timeout 20 sh -c 'while grep -q . {process}; do sleep 0.05; done' 2>/dev/null")
    port = host.read("/var/lib/clew/clew/port")
    hold(host, LISTEN, port)
    host.does("up")
    assert host.read("/var/lib/clew/clew/port") != port
    assert "node-1" in host.well("kubectl", "get", "nodes")
    host.does("down")
    let_go(host)
    nothing_left(host, before)
