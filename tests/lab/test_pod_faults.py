"""kill -9 of every part a pod stands on: what is lost is made anew, what lives is left alone, nothing is forgotten."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .small_lab import SmallLab, eventually, small_lab

pytestmark = pytest.mark.root
NAME = f"podfaults{os.getpid()}"
COUNTS = 'i=0; trap "exit 0" TERM; while true; do i=$((i+1)); echo line $i; sleep 0.1; done'


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    with small_lab(NAME, tmp_path_factory.mktemp("faults"), "--nodes", "1") as lab:
        yield lab


def start(lab: SmallLab, name: str, script: str, *arguments: str) -> None:
    done = lab.kubectl("run", name, "--image=busybox", *arguments, "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    lab.wait(name)


def network_of(lab: SmallLab, pod: str) -> str:
    return lab.kubectl("exec", pod, "--", "readlink", "/proc/1/ns/net").stdout.strip("net:[]\n")


def test_a_lost_pause_process_takes_the_whole_pod_along_and_it_comes_back(lab: SmallLab) -> None:
    start(lab, "paused", COUNTS)
    space = network_of(lab, "paused")
    holders = lab.clew("node", "exec", "node-1", "--", "lsns", "-n", "-l", "-t", "net", "-o", "NS,PID").stdout
    pause = next(line.split()[1] for line in holders.splitlines() if line.split()[0] == space)
    lab.clew("node", "exec", "node-1", "--", "kill", "-9", pause)
    lab.wait("paused", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    lab.wait("paused")
    assert network_of(lab, "paused") != space
    told = ("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
    eventually(lambda: told in lab.events("paused"), what=str(told))
    eventually(lambda: lab.logs("paused").startswith("line 1\n"), what="it has begun anew")
    links = lab.clew("node", "exec", "node-1", "--", "ip", "-o", "link", "show", "type", "veth").stdout.splitlines()
    with_network = [pod for pod in lab.get("pods", "", "-A") if not pod["spec"].get("hostNetwork")]
    assert len([line for line in links if "cbr0" in line]) == len(with_network)  # the old pod's went with it


def test_what_runs_and_what_ended_while_no_daemon_lived_is_known_to_the_next(lab: SmallLab) -> None:
    """Also: a container that failed and was to be restarted is, and its log and exit code are kept."""
    start(lab, "runs", COUNTS)
    start(lab, "ends", "echo first; until [ -e /stop ]; do sleep 0.1; done; echo last; exit 7", "--restart=Never")
    start(lab, "fails", "echo try; until [ -e /stop ]; do sleep 0.1; done; echo fails; exit 3")
    before = lab.status("runs")["containerID"], network_of(lab, "runs")
    for pod in ("ends", "fails"):
        lab.kubectl("exec", pod, "--", "sh", "-c", "(sleep 1; touch /stop) >/dev/null 2>&1 &")
    os.kill(int(Path("/run/clew", NAME, "daemon.pid").read_text()), signal.SIGKILL)
    tree = Path("/var/lib/clew", NAME, "nodes/node-1/var/log/pods")
    eventually(lambda: any("fails" in path.read_text() for path in tree.glob("default_fails_*/fails/0.log")))
    assert lab.clew("up", "--name", NAME).returncode == 0

    lab.ended_badly("ends")
    assert lab.status("ends")["state"]["terminated"]["exitCode"] == 7
    assert lab.logs("ends") == "first\nlast\n"
    lab.wait("fails", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    assert lab.status("fails")["lastState"]["terminated"]["exitCode"] == 3
    assert lab.logs("fails", "-p") == "try\nfails\n"
    assert (lab.status("runs")["containerID"], network_of(lab, "runs")) == before
    numbers = [int(line.split()[1]) for line in lab.logs("runs").splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))  # no line lost, none twice
    assert lab.status("runs")["restartCount"] == 0


def test_a_daemon_killed_in_the_midst_of_starting_pods_leaves_nothing_behind_and_nothing_undone(lab: SmallLab) -> None:
    assert (
        lab.kubectl(
            "create", "deployment", "burst", "--image=busybox", "--replicas=10", "--", "sleep", "9999"
        ).returncode
        == 0
    )
    tree = Path("/var/lib/clew", NAME, "nodes/node-1")
    before = set((tree / ".node/containers").iterdir())
    eventually(lambda: len(set((tree / ".node/containers").iterdir()) - before) > 2, what="some have begun")
    os.kill(int(Path("/run/clew", NAME, "daemon.pid").read_text()), signal.SIGKILL)
    assert lab.clew("up", "--name", NAME).returncode == 0
    rolled = lab.kubectl("rollout", "status", "deployment", "burst", "--timeout=60s", seconds=70)
    assert rolled.returncode == 0, rolled.stderr
    pods = lab.get("pods", "", "-A")
    assert (
        sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods if "burst" in pod["metadata"]["name"])
        == 0
    )
    addresses = [pod["status"]["podIP"] for pod in pods if not pod["spec"].get("hostNetwork")]
    assert len(set(addresses)) == len(addresses)
    running = [pod for pod in pods if pod["status"]["phase"] in {"Pending", "Running"}]
    eventually(lambda: len(list((tree / ".node/sandboxes").iterdir())) == len(running), what="no sandbox is left over")
    shown = ("node", "exec", "node-1", "--", "ip", "-o", "link", "show", "master", "cbr0")
    with_network = len([pod for pod in running if not pod["spec"].get("hostNetwork")])
    eventually(lambda: len(lab.clew(*shown).stdout.splitlines()) == with_network, what="no link is left over")


def test_a_node_whose_supervisor_dies_has_lost_power_and_comes_back(lab: SmallLab) -> None:
    start(lab, "powered", COUNTS)
    lab.kubectl("run", "done", "--image=busybox", "--restart=Never", "--", "echo", "over")
    assert lab.ended("done") == "over\n"
    group = f"/clew/{NAME}/node-1/supervisor"
    inside = {
        pid for procs in Path("/sys/fs/cgroup").glob(f"**{group}/cgroup.procs") for pid in procs.read_text().split()
    }
    found = [pid for pid in inside if Path("/proc", pid, "comm").read_text() == "clew-node\n"]
    assert len(found) == 1
    os.kill(int(found.pop()), signal.SIGKILL)
    lab.wait("powered", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    lab.wait("powered")
    status = lab.status("powered")
    assert status["lastState"]["terminated"]["exitCode"] == 255
    assert status["lastState"]["terminated"]["reason"] == "Unknown"
    assert lab.logs("powered", "-p").startswith("line 1\n")  # the disk outlives the power
    assert lab.logs("done") == "over\n"
    assert lab.pod("done")["status"]["phase"] == "Succeeded"

    def resolves() -> bool:
        name = "kubernetes.default.svc.cluster.local"
        return lab.kubectl("exec", "powered", "--", "nslookup", name).returncode == 0

    eventually(resolves, what="the network works again")
    node = lab.get("node", "node-1")
    chosen = f"--field-selector=involvedObject.uid={node['metadata']['uid']}"
    eventually(lambda: "Rebooted" in {each["reason"] for each in lab.get("events", "", chosen)}, what="it is told")
