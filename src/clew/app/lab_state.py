"""What is on record about a lab: its spec, its kubeconfig, its living daemon, its lock. For commands and the daemon.

Everything here reads small files and returns at once; nothing waits.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import yaml

from clew.api.objects import Object
from clew.app.lab_config import LabSpec
from clew.base.errors import UserError
from clew.cluster.images import ImageService, OwnProgram
from clew.cluster.paths import LabPaths
from clew.kernel import files
from clew.watch.client import Client

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


def stored_spec(paths: LabPaths) -> LabSpec | None:
    """The shape with which the lab was made; None where there is none. UserError where it cannot be read."""
    try:
        return msgspec.json.decode((paths.state / SPEC).read_bytes(), type=LabSpec)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        remedy = f"remove the lab: clew down --name {paths.name}"
        raise UserError(f"{paths.state / SPEC} is damaged or of another version of Clew", remedy) from None


def the_spec(paths: LabPaths) -> LabSpec:
    """The same; UserError where there is no such lab."""
    spec = stored_spec(paths)
    if spec is None:
        raise UserError(f"there is no lab {paths.name}", f"try: clew up --name {paths.name}, or clew ls")
    return spec


def stored_kubeconfig(paths: LabPaths) -> Object | None:
    try:
        found: Object = json.loads((paths.state / KUBECONFIG).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


def paths_of(name: str) -> LabPaths:
    """The folders of a lab that is there; UserError where there is none."""
    paths = LabPaths(name)
    the_spec(paths)
    return paths


def kubeconfig_text(name: str) -> str:
    """A lab's kubeconfig as YAML; UserError where there is none."""
    found = stored_kubeconfig(paths_of(name))
    if found is None:
        raise UserError(f"lab {name} has not come up yet", f"try: clew up --name {name}")
    return yaml.safe_dump(found, sort_keys=False)


def image_service(name: str) -> ImageService:
    """The lab's images, from a command beside the daemon."""
    return ImageService(paths_of(name).images, OwnProgram.running())


def lab_client(paths: LabPaths) -> Client:
    """A client of the lab's API server as its administrator."""
    if stored_kubeconfig(paths) is None or not daemon_pid(paths):
        raise UserError(f"lab {paths.name} is not running", f"try: clew up --name {paths.name}")
    return Client.from_kubeconfig(paths.state / KUBECONFIG)


def names() -> list[str]:
    """Every lab of which anything is left on this machine."""
    roots = (LabPaths("x").state.parent, LabPaths("x").run.parent, LabPaths("x").log.parent)
    found = set()
    for root in roots:
        with suppress(OSError):
            found |= {each.name for each in root.iterdir() if each.is_dir()}
    return sorted(found)


def labs() -> list[dict[str, Any]]:
    """A row a lab."""
    found: list[dict[str, Any]] = []
    for name in names():
        paths = LabPaths(name)
        try:
            spec = stored_spec(paths)
        except UserError:
            spec = None
        state = "running" if daemon_pid(paths) else "stopped"
        row = {"name": name, "nodes": 0, "family": "", "state": "broken"}
        if spec is not None:
            row = {"name": name, "nodes": len(spec.nodes), "family": spec.family, "state": state}
        found.append({**row, "context": f"clew-{name}"})
    return found
