"""A machine of a test's own, on this one's kernel: what Clew does to "the host" is seen there, and nothing else is.

It has network, mount, process, host name and IPC namespaces and control groups of its own; /run /tmp /var and the home
folder are empty and its own, everything else is this machine's, read-only. Labs of several machines may have one name.
Process 1 is machine_first.py, which runs commands one at a time; all of it ends with `with`.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clew.cluster.runtime.supervisor import cgroups

from .small_lab import eventually

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLEW = str(Path(sys.executable).with_name("clew"))
HOME = "/run/home"
Done = subprocess.CompletedProcess[str]


class Machine:
    """Made by `machine()`."""

    def __init__(self, first: "subprocess.Popen[str]", environment: dict[str, str]) -> None:
        self._first = first
        self.environment = environment

    def run(self, *command: str, seconds: float = 120, text: str = "", **environment: str) -> Done:
        """A command in the machine; further arguments are variables for it."""
        asked = {
            "argv": command, "environment": {**self.environment, **environment}, "seconds": seconds, "text": text,
        }  # fmt: skip
        assert self._first.stdin is not None
        assert self._first.stdout is not None
        self._first.stdin.write(json.dumps(asked) + "\n")
        self._first.stdin.flush()
        said = self._first.stdout.readline()
        assert said, "the machine has gone"
        answer = json.loads(said)
        return subprocess.CompletedProcess(command, answer["code"], answer["out"], answer["err"])

    def clew(self, *arguments: str, seconds: float = 120, **environment: str) -> Done:
        return self.run(CLEW, *arguments, seconds=seconds, **environment)

    def background(self, script: str) -> None:
        """Start a shell script that goes on by itself; it hears Ctrl-C, also where the tests are a background job."""
        self.well(
            "setsid",
            "-f",
            "env",
            "--default-signal",
            "sh",
            "-c",
            f"exec >/dev/null 2>&1 </dev/null; {script}",
            seconds=20,
        )

    def write(self, path: str, text: str) -> None:
        self.python("import sys; open(sys.argv[1], 'w').write(sys.argv[2])", path, text)

    def read(self, path: str) -> str:
        return self.well("cat", path)

    def does(self, *arguments: str, seconds: float = 120) -> str:
        """What a `clew` that must work says."""
        return self.well(CLEW, *arguments, seconds=seconds)

    def well(self, *command: str, seconds: float = 120) -> str:
        """What a command says that must work."""
        done = self.run(*command, seconds=seconds)
        assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def python(self, script: str, *arguments: str) -> str:
        return self.well(sys.executable, "-c", script, *arguments)

    def snapshot(self, *categories: str) -> dict[str, list[str]]:
        """What a user of the machine could find changed, by category; without any, all of it."""
        found: dict[str, list[str]] = json.loads(self.well(sys.executable, str(HERE / "snapshot.py"), *categories))
        return found

    def kill_everything(self) -> None:
        """`kill -9` of every process but the first; all have ended when this returns."""
        self.python("import os, signal; os.kill(-1, signal.SIGKILL)")
        eventually(lambda: len(self.snapshot("processes")["processes"]) == 1, 20, "every process has ended")


@contextlib.contextmanager
def machine(*, var_size: str = "1g") -> Iterator[Machine]:
    """A machine that is on; `var_size` is the size of its /var."""
    group = f"/machine-{os.getpid()}-{os.urandom(3).hex()}"
    environment = {
        "HOME": HOME, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin", "LANG": "C.UTF-8",
    }  # fmt: skip
    settings: dict[str, Any] = {"group": group, "var": var_size, "home": HOME, "keep": _kept()}
    first = subprocess.Popen(
        [sys.executable, str(HERE / "machine_first.py"), json.dumps(settings)], text=True, env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Machine(first, environment)
    finally:
        assert first.stdin is not None
        first.stdin.close()  # process 1 ends, and with it everything in its namespace
        _remove(group)
        first.wait(30)


def _kept() -> list[str]:
    """Folders that are needed and may lie where the machine has its own."""
    kubectl = Path(os.path.realpath(shutil.which("kubectl") or "kubectl")).parents[1]  # perhaps of another venv
    found = {os.path.realpath(each) for each in (ROOT, sys.prefix, sys.base_prefix)}
    return sorted(found | ({str(kubectl)} if kubectl.name not in {"", "usr"} else set()))


def _remove(group: str) -> None:
    for pid in cgroups.members_below(group):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    for _ in range(200):
        if not cgroups.members_below(group) and not cgroups.remove(group):
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError(f"control group {group} does not end")
