"""Running a program of this machine inside a host of the lab, for `clew node exec`: the caller's process becomes it.

A node is entered whole: network, files, names, processes. A host without a supervisor (the one outside the cluster) is
a network only. The program is the node's own, else one of the machine that the node does not show: executed by
descriptor.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from clew.base.errors import UserError, WorldError
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.location import group_of, supervisor_pid
from clew.cluster.runtime.supervisor import cgroups
from clew.kernel import netns, process

_LONGEST = 30.0  # seconds for a child that only enters and makes a socket
_NODE = {"uts": process.NEWUTS, "ipc": process.NEWIPC, "pid": process.NEWPID, "mnt": process.NEWNS}


def run_in_host(paths: LabPaths, host: str, command: Sequence[str]) -> None:
    """Become the command, inside the host. Returns only by UserError."""
    path = paths.netns(host)
    if not netns.pinned(path):
        known = sorted(each.name for each in paths.netns_dir.iterdir()) if paths.netns_dir.is_dir() else []
        raise UserError(f"lab {paths.name} has no host {host!r}", f"hosts: {' '.join(known) or 'none; try clew up'}")
    program = _find(command[0])
    if program is None:
        raise UserError(f"{command[0]} is not installed on this machine", "a lab's hosts run its programs: install it")
    file = os.open(program, os.O_RDONLY)
    os.set_inheritable(file, True)
    _enter(paths, host)
    try:
        os.execve(_find(command[0]) or file, list(command), dict(os.environ))  # noqa: S606 - without a shell, as asked
    except OSError as refused:  # a script whose interpreter the node does not show, for one
        remedy = "a node sees the machine's /usr and /etc, and folders of its own besides"
        raise UserError(f"{command[0]} cannot be run in {host}: {refused.strerror}", remedy) from refused


def _find(program: str) -> str | None:
    """Where this process sees it; a node may mean another one by a name than the machine."""
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def socket_in_host(paths: LabPaths, host: str, family: int, kind: int) -> socket.socket:
    """A socket as a program of the host would make it: in its network and in its control group.

    By the group some service proxies know whose it is. Blocks for a short child process, about 20 ms.
    """
    group = f"{group_of(paths, host)}/exec"
    cgroups.make(group)
    members = [str(root / group.strip("/") / "cgroup.procs") for root in cgroups.hierarchies()]
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with near, far:
        told = [str(each) for each in (far.fileno(), paths.netns(host), family, kind)]
        command = [sys.executable, "-IS", "-c", _MAKE_SOCKET, *told, *members]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, pass_fds=[far.fileno()], check=False, stderr=subprocess.DEVNULL, timeout=_LONGEST)
        far.close()
        _data, descriptors, _flags, _address = socket.recv_fds(near, 1, 1)
    if not descriptors:
        raise WorldError(f"no socket can be made in {host}")
    return socket.socket(fileno=descriptors[0])


_MAKE_SOCKET = """
import ctypes, os, socket, sys
channel, netns, family, kind, *members = sys.argv[1:]
for each in members:
    with open(each, "w") as file:
        file.write("0")
if ctypes.CDLL(None).setns(os.open(netns, os.O_RDONLY), 0x40000000):
    sys.exit(1)
with socket.socket(fileno=int(channel)) as answer, socket.socket(int(family), int(kind)) as made:
    socket.send_fds(answer, [b"!"], [made.fileno()])
"""


def _enter(paths: LabPaths, host: str) -> None:
    """Move this process, through a fork where there is a process namespace to enter; the parent waits and passes on."""
    supervisor = supervisor_pid(paths, host)
    group = f"{group_of(paths, host)}/exec"
    cgroups.make(group)
    cgroups.join(group)
    spaces = [(os.open(paths.netns(host), os.O_RDONLY | os.O_CLOEXEC), process.NEWNET)]
    if supervisor:
        spaces += [
            (os.open(f"/proc/{supervisor}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind) for name, kind in _NODE.items()
        ]
    for fd, kind in spaces:
        process.setns(fd, kind)
    if supervisor and (child := os.fork()):
        _follow(child)


def _follow(child: int) -> None:
    """Wait for the program and end as it did."""
    for number in (signal.SIGINT, signal.SIGQUIT):  # the terminal sends them to both
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: _pass_on(child, got))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)
