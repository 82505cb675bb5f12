"""Switching a node on and off, from outside: starting its supervisor, and leaving nothing of it behind.

The control group tells which processes are the node's, so this works as well when the supervisor is dead, hung or was
never told of by a daemon that died.
"""

import asyncio
import contextlib
import json
import os
import platform
import select
import signal
import sys
import threading
import time
from pathlib import Path

import clew
from clew.base.errors import WorldError
from clew.cluster.images import OwnProgram
from clew.cluster.images.stand_ins.pause import program as pause_program
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.attached import take_off
from clew.cluster.runtime.location import group_of
from clew.cluster.runtime.settings import NodeSettings
from clew.cluster.runtime.supervisor import boot, cgroups
from clew.kernel import netns
from clew.kernel.iptables import alternatives

START = 120.0  # seconds for a supervisor that lives to listen; ten times slower, and busy, it takes more than twenty
PATIENCE = 20.0  # seconds for processes to vanish after SIGKILL


class PowerError(WorldError):
    """The node could not be switched on or off."""


async def switch_on(paths: LabPaths, node: str, settings: NodeSettings) -> None:
    """Start the node's supervisor; it listens when this returns. PowerError with the supervisor's reason."""
    paths.log.mkdir(parents=True, exist_ok=True, mode=0o755)
    tree = paths.node_tree(node)
    await asyncio.to_thread(_put_pause, tree / boot.PRIVATE / "pause")
    own = OwnProgram.running()
    config = boot.BootConfig(
        name=node,
        netns=str(paths.netns(node)),
        tree=str(tree),
        socket=str(paths.node_socket(node)),
        group=group_of(paths, node),
        images=str(paths.images),
        folders=[own.prefix, own.base_prefix, *own.import_roots],
        files=settings.files(node),
        links=await asyncio.to_thread(alternatives.legacy),
        version=clew.__version__,
    )
    paths.images.mkdir(parents=True, exist_ok=True)
    answer = await _start(config, paths.log / f"{node}.log")
    if "pid" not in answer:
        raise PowerError(f"node {node} did not start: {answer.get('error') or 'its supervisor ended without a word'}")


async def switch_off(paths: LabPaths, node: str) -> None:
    """End every process of the node, its control groups and its socket. Nothing there is fine. PowerError."""
    await asyncio.to_thread(cut_off, paths, node)


def cut_off(paths: LabPaths, node: str = "") -> None:
    """The same, blocking; without a node, for all that the lab has in control groups (nodes, programs run in them)."""
    group = group_of(paths, node) if node else f"/clew/{paths.name}"
    end = time.monotonic() + PATIENCE
    while pids := cgroups.members_below(group):
        _end_all(group, pids, end)
        if time.monotonic() > end:
            raise PowerError(f"processes in {group} do not end: {' '.join(map(str, pids))}")
    networks = [paths.netns(node)] if node else sorted(paths.netns_dir.glob("*"))
    take_off(group, [each for each in networks if netns.pinned(each)])
    moment = threading.Event()  # the kernel lets go of a group a moment after its last process has ended
    while left := cgroups.remove(group):
        if time.monotonic() > end:
            raise PowerError(f"control groups cannot be removed: {left[0]} and {len(left) - 1} more")
        moment.wait(0.01)
    for parent in (f"/clew/{paths.name}", "/clew"):
        cgroups.remove_empty(parent)
    if node:
        paths.node_socket(node).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            paths.node_run(node).rmdir()


def _end_all(group: str, pids: list[int], end: float) -> None:
    """Kill, and wait for it. A node's process 1 takes the rest of it along, so those go first and alone."""
    first = [pid for folder in cgroups.below(group, "supervisor") for pid in cgroups.members(folder)]
    waiting = select.poll()
    held: list[int] = []
    for pid in first or pids:
        with contextlib.suppress(ProcessLookupError):
            held.append(os.pidfd_open(pid))
            waiting.register(held[-1], select.POLLIN)
            signal.pidfd_send_signal(held[-1], signal.SIGKILL)
    left = len(held)
    while left and (ready := waiting.poll(max(0.0, end - time.monotonic()) * 1000)):
        for fd, _ in ready:
            waiting.unregister(fd)
            left -= 1
    for fd in held:
        os.close(fd)


async def _start(config: boot.BootConfig, log: Path) -> dict[str, object]:
    """Spawn the supervisor and read what it says of itself."""
    pid, read = _spawn(config, log)
    try:
        async with asyncio.timeout(START):
            said = await asyncio.to_thread(_read_all, read)
    except TimeoutError:
        _kill([pid])
        return {"error": f"not within {START:.0f} s; see {log}"}
    finally:
        os.close(read)
        await asyncio.to_thread(_reap, pid)
    try:
        answer: dict[str, object] = json.loads(said)
    except ValueError:
        return {"error": f"see {log}"}
    return answer


def _spawn(config: boot.BootConfig, log: Path) -> tuple[int, int]:
    """(pid, read end of its standard output). posix_spawn: nothing of this process is copied."""
    given, give = os.pipe()
    os.write(give, json.dumps(config._asdict()).encode())  # a pipe holds sixteen times as much
    os.close(give)
    read, write = os.pipe()
    root = str(Path(clew.__file__).resolve().parent.parent)
    argv = [sys.executable, "-S", "-m", "clew.cluster.runtime.supervisor", config.name]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": root, "LANG": "C.UTF-8"}
    try:
        pid = os.posix_spawn(
            sys.executable, argv, environment, setsid=True, setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM],
            file_actions=[
                (os.POSIX_SPAWN_DUP2, given, 0),
                (os.POSIX_SPAWN_DUP2, write, 1),
                (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            ],
        )  # fmt: skip
    except OSError:
        os.close(read)
        raise
    finally:
        os.close(given)
        os.close(write)
    return pid, read


def _read_all(fd: int) -> bytes:
    said = b""
    while data := os.read(fd, 64 << 10):
        said += data
    return said


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _put_pause(folder: Path) -> None:
    """The program that holds pods' namespaces, into the node's private folder."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "pause"
    target.write_bytes(pause_program(platform.machine()))
    target.chmod(0o755)
