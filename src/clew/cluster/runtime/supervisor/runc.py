"""The OCI runtime's command line: which runtime, its arguments, what its error log says.

runc is Debian's and Ubuntu's package; crun is taken where runc is missing and it can run. Both keep their state under
one folder, which goes with the node's /run.
"""

import json
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path

from clew.cluster.runtime.supervisor.spawn import SEARCH

STATE = Path("/run/runc")


@cache
def runtime() -> str:
    for name in ("runc", "crun"):
        if (found := shutil.which(name, path=SEARCH)) is not None:
            return found
    raise FileNotFoundError(2, "no container runtime: install the package runc")


def _command(log: Path) -> list[str]:
    return [runtime(), "--root", str(STATE), "--log", str(log), "--log-format", "json"]


def run(identity: str, bundle: Path, console: Path | None) -> list[str]:
    """Create and start in one: `bundle/pid` then holds the process, `bundle/runc.log` what went wrong."""
    command = [*_command(bundle / "runc.log"), "run", "-d", "--no-new-keyring"]
    command += ["--bundle", str(bundle), "--pid-file", str(bundle / "pid")]
    return [*command, *(["--console-socket", str(console)] if console else []), identity]


def execute(identity: str, folder: Path, console: Path | None) -> list[str]:
    """A process beside the container's, described by `folder/process.json`."""
    command = [*_command(folder / "runc.log"), "exec", "-d"]
    command += ["--process", str(folder / "process.json"), "--pid-file", str(folder / "pid")]
    return [*command, *(["--console-socket", str(console)] if console else []), identity]


def pid_in(folder: Path) -> int:
    return int((folder / "pid").read_text(encoding="ascii"))


def failure(folder: Path) -> str:
    """The last error in the runtime's log, in its own words."""
    last = ""
    with suppress(OSError):
        for line in (folder / "runc.log").read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, TypeError):
                entry = json.loads(line)
                if entry.get("level") in {"error", "fatal"}:
                    last = str(entry["msg"])
    return last or "the runtime gave no reason"


def forget(identity: str) -> None:
    """What `runc delete` does for a container whose processes and control group are gone, without starting it."""
    shutil.rmtree(STATE / identity, ignore_errors=True)
