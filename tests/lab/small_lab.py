"""A lab of the test's own, driven as a user drives it: the commands `clew` and `kubectl`, nothing of Clew's inside."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLEW = str(Path(sys.executable).with_name("clew"))
SLOWNESS = float(os.environ.get("CLEW_PATIENCE", "15")) / 15  # limits are so many times longer: in the guest, 13
STALLS = 3  # a limit says how long a thing may take on a machine that has nothing else to do; others have
Done = subprocess.CompletedProcess[str]


class SmallLab:
    """A lab that is up; `folder` holds its kubeconfig and whatever a test writes."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.environment = {
            **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "KUBECONFIG": str(folder / "config"), "CLEW_NAME": name, "HOME": str(folder),
        }  # fmt: skip

    def run(self, *command: str, text: str = "", seconds: float = 60) -> Done:
        """Any command, with `text` as its input."""
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=seconds * SLOWNESS * STALLS, check=False,
            env=self.environment,
        )  # fmt: skip

    def clew(self, *arguments: str, seconds: float = 120) -> Done:
        return self.run(CLEW, *arguments, seconds=seconds)

    def kubectl(self, *arguments: str, text: str = "", seconds: float = 60) -> Done:
        return self.run("kubectl", *arguments, text=text, seconds=seconds)

    def apply(self, manifests: str) -> None:
        done = self.kubectl("apply", "-f", "-", text=manifests)
        assert done.returncode == 0, done.stderr

    def get(self, kind: str, name: str = "", *arguments: str) -> Any:
        """An object, or a list's items, as JSON."""
        done = self.kubectl("get", kind, *([name] if name else []), *arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        return found if name else found["items"]

    def pod(self, name: str) -> Any:
        return self.get("pod", name)

    def status(self, pod: str, container: int = 0) -> Any:
        """A container's status."""
        return self.pod(pod)["status"]["containerStatuses"][container]

    def events(self, pod: str) -> list[tuple[str, str]]:
        """(reason, message) of the pod's Events in their order."""
        chosen = f"--field-selector=involvedObject.name={pod}"
        return [(each["reason"], each["message"]) for each in self.get("events", "", chosen)]

    def wait(self, name: str, condition: str = "condition=Ready", seconds: int = 40) -> None:
        """Until `kubectl wait` says so."""
        limit = seconds * SLOWNESS * STALLS
        done = self.kubectl("wait", f"--for={condition}", f"pod/{name}", f"--timeout={limit:.0f}s", seconds=limit + 10)
        assert done.returncode == 0, done.stderr + self.kubectl("describe", "pod", name).stdout

    def logs(self, name: str, *arguments: str) -> str:
        done = self.kubectl("logs", name, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ended(self, name: str, seconds: int = 40, *, logs: bool = True) -> str:
        """The logs of a pod once it has run to its end."""
        eventually(lambda: self.pod(name)["status"]["phase"] in {"Succeeded", "Failed"}, seconds, f"{name} has ended")
        return self.logs(name) if logs else ""

    def ended_badly(self, name: str, seconds: int = 40) -> None:
        eventually(lambda: self.pod(name)["status"]["phase"] == "Failed", seconds, f"{name} has failed")


def eventually(true: Callable[[], object], seconds: float = 20, what: str = "") -> None:
    """Look again and again until it is true; fails long after `seconds`, or later still where all is slower."""
    end = time.monotonic() + seconds * SLOWNESS * STALLS
    pause, tick = 0.05, threading.Event()
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what or true}"
        tick.wait(pause)
        pause = min(pause * 1.5, 0.5)


@contextmanager
def small_lab(name: str, folder: Path, *arguments: str) -> Iterator[SmallLab]:
    """Up, and down again whatever happens in between."""
    lab = SmallLab(name, folder)
    try:
        made = lab.clew("up", "--name", name, "--wait", f"{90 * SLOWNESS * STALLS:.0f}", *arguments)
        assert made.returncode == 0, made.stderr
        yield lab
    finally:
        removed = lab.clew("down", "--name", name)
    assert removed.returncode == 0, removed.stderr
