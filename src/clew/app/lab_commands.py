"""Up, down and what lies between: the lab seen from a command's process. Blocking but for what waits on the API."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from clew.api.kinds import DEPLOYMENT, NODE
from clew.app import kubeconfig, kubeconfig_files
from clew.app.lab import READY, read_stored_spec, stored_kubeconfig
from clew.app.lab_config import LabSpec
from clew.base.errors import UserError
from clew.cluster.fabric import remove
from clew.cluster.images import ImageService, OwnProgram
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.entering import run_in_host
from clew.cluster.runtime.power import PowerError, cut_off
from clew.kernel import files
from clew.watch.client import Client
from clew.watch.errors import ApiError

if TYPE_CHECKING:
    from clew.api.objects import Object

Say = Callable[[str], None]
READY_SECONDS = 90.0


def need_root() -> None:
    if os.geteuid():
        raise UserError("a lab needs root: it makes network namespaces", "try: sudo clew up")


def need_programs() -> None:
    for program, package in (("nft", "nftables"), ("runc", "runc"), ("ip", "iproute2")):
        if shutil.which(program) is None:
            raise UserError(f"{program} is not installed", f"try: apt-get install {package}")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One command at a time changes a lab."""
    lock = files.FileLock(LabPaths(name).run.parent / f"{name}.lock")
    try:
        lock.acquire()
    except files.LockedError as error:
        raise UserError(f"another command is at work on lab {name}: {error}", "wait for it to end") from None
    try:
        yield
    finally:
        lock.release(remove=True)
        with suppress(OSError):
            lock.path.parent.rmdir()


def daemon_pid(paths: LabPaths) -> int:
    """The living daemon's process id, else 0."""
    try:
        pid = int((paths.run / "daemon.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return pid if command.split(b"\0")[-3:-1] == [b"clew.app.lab", paths.name.encode()] else 0


def up(spec: LabSpec, say: Say, wait: float = READY_SECONDS) -> None:
    """Create or resume the lab and wait until nodes and DNS are ready; what a failed creation made is removed.

    `wait` is in seconds and for the whole of it: a slow machine (one that interprets another's code) needs more.
    """
    paths = LabPaths(spec.name)
    deadline = time.monotonic() + wait
    stored = read_stored_spec(paths)
    fresh = stored is None
    if stored is not None and stored != spec:
        spec = stored  # a lab keeps the shape with which it was made
        say(f"lab {spec.name} is there already and keeps its shape; `clew down` first to change it")
    kubeconfig_files.check()
    try:
        paths.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths.run.mkdir(parents=True, exist_ok=True, mode=0o755)
        paths.log.mkdir(parents=True, exist_ok=True)
        files.replace(paths.state / "lab.json", msgspec.json.encode(spec))
        if not daemon_pid(paths):
            _start_daemon(paths)
        _wait_for_file(paths, deadline)
        say("API server answers")
        config = stored_kubeconfig(paths)
        assert config is not None  # noqa: S101 - the daemon wrote it before it was ready
        kubeconfig_files.merge(paths.state, config)
        asyncio.run(_wait_until_ready(paths, spec, say, deadline))
    except OSError as error:
        if fresh:
            down(spec.name)
        raise UserError(
            f"cannot make lab {spec.name}: {error.strerror}: {error.filename or ''}", "free some space or rights"
        ) from None
    except UserError:
        if fresh:
            down(spec.name)
        raise


def _start_daemon(paths: LabPaths) -> None:
    for stale in (READY, "daemon.pid"):
        (paths.run / stale).unlink(missing_ok=True)
    with (paths.log / "daemon.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "clew.app.lab", paths.name], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, cwd="/",
        )  # fmt: skip


def _wait_for_file(paths: LabPaths, deadline: float) -> None:
    while not (paths.run / READY).exists():
        if time.monotonic() > deadline or ((paths.run / "daemon.pid").exists() and not daemon_pid(paths)):
            raise UserError(f"the lab's daemon did not start: {_last_line(paths)}", f"see {paths.log}/daemon.log")
        time.sleep(0.02)  # noqa: TID251 - a command waits for another process


def _last_line(paths: LabPaths) -> str:
    with suppress(OSError, IndexError):
        return (paths.log / "daemon.log").read_text().strip().splitlines()[-1]
    return "it wrote nothing"


def lab_client(paths: LabPaths) -> Client:
    if stored_kubeconfig(paths) is None or not daemon_pid(paths):
        raise UserError(f"lab {paths.name} is not running", f"try: clew up --name {paths.name}")
    return Client.from_kubeconfig(paths.state / "kubeconfig.json")


async def _wait_until_ready(paths: LabPaths, spec: LabSpec, say: Say, deadline: float) -> None:
    """Poll, since a person waits and three objects are all there is to look at."""
    client = lab_client(paths)
    told: set[str] = set()
    try:
        while True:
            waiting = await _waiting(client, spec)
            for name in [*(f"node {node} is ready" for node in spec.nodes), "DNS is ready"]:
                if name not in told and name.split()[1] not in waiting and name.split()[0] not in waiting:
                    told.add(name)
                    say(name)
            if not waiting:
                return
            if time.monotonic() > deadline:
                hint = f"see {paths.log}/daemon.log; a slow machine needs a longer --wait"
                raise UserError(f"not ready in time: {', '.join(waiting)}", hint)
            await asyncio.sleep(0.1)
    finally:
        await client.close()


async def _waiting(client: Client, spec: LabSpec) -> list[str]:
    try:
        ready = {
            node["metadata"]["name"]
            for node in (await client.list(NODE)).items
            if any(
                each["type"] == "Ready" and each["status"] == "True"
                for each in (node.get("status") or {}).get("conditions") or ()
            )
        }
        waiting = [name for name in spec.nodes if name not in ready]
        dns: Object = await client.get(DEPLOYMENT, "coredns", "kube-system")
        if (dns.get("status") or {}).get("readyReplicas", 0) < 2:
            waiting.append("DNS")
    except ApiError:
        return [*spec.nodes, "DNS"]
    return waiting


def down(name: str) -> bool:
    """Remove everything of the lab, whatever there is of it; tells whether there was any."""
    paths = LabPaths(name)
    there = paths.state.exists() or paths.run.exists()
    _end_daemon(paths)
    try:
        cut_off(paths)
    except PowerError as error:
        raise UserError(f"lab {name} does not end: {error}", "try again: clew down") from None
    remove(paths)
    try:
        kubeconfig_files.remove(paths.state, kubeconfig.title(name))
    finally:
        for path in (paths.run, paths.state, paths.log):
            shutil.rmtree(path, ignore_errors=True)
        for root in (paths.run.parent, paths.state.parent, paths.log.parent):
            with suppress(OSError):
                root.rmdir()
    return there


def _end_daemon(paths: LabPaths) -> None:
    pid = daemon_pid(paths)
    if not pid:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while daemon_pid(paths) and time.monotonic() < deadline:
            time.sleep(0.01)  # noqa: TID251 - a command waits for another process


def kubeconfig_text(name: str) -> str:
    """A lab's kubeconfig as YAML."""
    found = stored_kubeconfig(LabPaths(name))
    if found is None:
        raise UserError(f"there is no lab {name}", f"try: clew up --name {name}")
    return yaml.safe_dump(found, sort_keys=False)


def labs() -> list[dict[str, Any]]:
    """All labs of this machine."""
    found: list[dict[str, Any]] = []
    for path in sorted(Path("/var/lib/clew").glob("*/lab.json")):
        paths = LabPaths(path.parent.name)
        spec = read_stored_spec(paths)
        if spec is not None:
            state = "running" if daemon_pid(paths) else "stopped"
            found.append({"name": spec.name, "nodes": len(spec.nodes), "family": spec.family, "state": state})
    return found


def image_service(name: str) -> ImageService:
    """The lab's images, from a command beside the daemon."""
    paths = LabPaths(name)
    if not paths.state.exists():
        raise UserError(f"there is no lab {name}", f"try: clew up --name {name}")
    return ImageService(paths.images, OwnProgram.running())


def node_exec(name: str, host: str, command: Sequence[str]) -> None:
    """Become the host and then the command; returns only by UserError."""
    run_in_host(LabPaths(name), host, command)
