"""Where a lab stands: is it there, does its daemon live, who holds its lock. For commands and the daemon.

Small files are read and nothing waits; nothing heavy is loaded, since every command comes through here. What is in
those files is the matter of lab_spec and lab_record.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clew.base.errors import UserError
from clew.cluster.paths import LabPaths
from clew.kernel import files

READY = "ready"  # in the run folder: the API server answers
PID = "daemon.pid"
SPEC = "lab.json"
KUBECONFIG = "kubeconfig.json"


def need_root() -> None:
    if os.geteuid():
        raise UserError("a lab belongs to root: it is made of namespaces", "try it with sudo")


def need_programs() -> None:
    """UserError for the first program that a lab cannot do without."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    for program, package in (("nft", "nftables"), ("runc", "runc"), ("ip", "iproute2")):
        if shutil.which(program, path=path) is None:
            raise UserError(f"{program} is not installed", f"try: apt-get install {package}")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One command at a time changes a lab."""
    lock = files.FileLock(LabPaths(name).run.parent / f"{name}.lock")
    try:
        lock.acquire()
    except files.LockedError as error:
        holder = f" (process {error.holder})" if error.holder else ""
        raise UserError(f"another command is at work on lab {name}{holder}", "wait for it to end") from None
    except OSError as error:
        raise UserError(f"cannot lock lab {name}: {lock.path}: {error.strerror}", "give Clew room there") from None
    try:
        yield
    finally:
        lock.release(remove=True)
        with suppress(OSError):
            lock.path.parent.rmdir()


def daemon_pid(paths: LabPaths) -> int:
    """The living daemon's process id, else 0."""
    try:
        pid = int((paths.run / PID).read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return pid if command.split(b"\0")[-3:-1] == [b"clew.app.lab", paths.name.encode()] else 0


def stored_kubeconfig(paths: LabPaths) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((paths.state / KUBECONFIG).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


def paths_of(name: str) -> LabPaths:
    """The folders of a lab that is there; UserError where there is none."""
    paths = LabPaths(name)
    if not (paths.state / SPEC).exists():
        raise UserError(f"there is no lab {name}", f"try: clew up --name {name}, or clew ls")
    return paths


def names() -> list[str]:
    """Every lab of which anything is left on this machine."""
    roots = (LabPaths("x").state.parent, LabPaths("x").run.parent, LabPaths("x").log.parent)
    found = set()
    for root in roots:
        with suppress(OSError):
            found |= {each.name for each in root.iterdir() if each.is_dir()}
    return sorted(found)
