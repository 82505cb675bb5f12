"""The main job, as a user types it: three nodes, the nginx walkthrough with the real kubectl, no trace after."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = f"walk{os.getpid()}"
CLEW = str(Path(sys.executable).with_name("clew"))

pytestmark = pytest.mark.root


def run(environment: dict[str, str], *command: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=environment)


def links() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A lab of three nodes; its environment for commands."""
    folder = tmp_path_factory.mktemp("lab")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    environment = {
        **os.environ,
        "PATH": path,
        "KUBECONFIG": str(folder / "config"),
        "CLEW_NAME": NAME,
        "HOME": str(folder),
    }
    before = links()
    try:
        made = run(environment, CLEW, "up", "--name", NAME)
        assert made.returncode == 0, made.stderr
        yield environment
    finally:
        removed = run(environment, CLEW, "down", "--name", NAME)
    assert removed.returncode == 0, removed.stderr
    assert links() == before
    for root in ("/var/lib/clew", "/run/clew", "/var/log/clew"):
        assert not Path(root, NAME).exists()
    assert not (folder / "config").exists()
    left = subprocess.run(["pgrep", "-f", f"clew.app.lab {NAME}"], capture_output=True, check=False)
    assert left.returncode == 1


def test_the_walkthrough_works_as_typed(lab: dict[str, str]) -> None:
    done = run(lab, sys.executable, str(ROOT / "scripts/walkthrough.py"), seconds=200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def test_a_killed_process_is_restarted_and_the_pod_keeps_its_address(lab: dict[str, str]) -> None:
    run(lab, "kubectl", "run", "one", "--image=nginx")
    assert run(lab, "kubectl", "wait", "--for=condition=Ready", "pod/one", "--timeout=30s").returncode == 0
    where = (
        "kubectl",
        "get",
        "pod",
        "one",
        "-o",
        "jsonpath={.status.podIP} {.status.containerStatuses[0].restartCount}",
    )
    ip = run(lab, *where).stdout.split()[0]
    run(lab, "kubectl", "exec", "one", "--", "sh", "-c", "kill -TERM 1")
    follow = (
        "kubectl",
        "wait",
        "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
        "pod/one",
        "--timeout=30s",
    )
    assert run(lab, *follow).returncode == 0
    assert run(lab, *where).stdout.split() == [ip, "1"]


def test_logs_exec_and_forwarding_reach_the_container(lab: dict[str, str]) -> None:
    run(lab, "kubectl", "run", "two", "--image=busybox", "--", "sh", "-c", "echo hello; sleep 600")
    assert run(lab, "kubectl", "wait", "--for=condition=Ready", "pod/two", "--timeout=30s").returncode == 0
    assert run(lab, "kubectl", "logs", "two").stdout == "hello\n"
    failed = run(lab, "kubectl", "exec", "two", "--", "sh", "-c", "echo out; exit 7")
    assert (failed.stdout, failed.returncode) == ("out\n", 7)


def test_the_daemon_may_die_and_come_back(lab: dict[str, str]) -> None:
    pid = int(Path("/run/clew", NAME, "daemon.pid").read_text())
    before = run(lab, "kubectl", "get", "pods", "-A", "-o", "jsonpath={.items[*].status.podIP}").stdout
    os.kill(pid, 9)
    assert run(lab, CLEW, "up", "--name", NAME).returncode == 0
    assert run(lab, "kubectl", "get", "pods", "-A", "-o", "jsonpath={.items[*].status.podIP}").stdout == before
    assert run(lab, CLEW, "status", "--name", NAME).returncode == 0


def test_kubectl_is_the_real_one() -> None:
    assert shutil.which("kubectl")
