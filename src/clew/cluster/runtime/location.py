"""Where a node's processes are: its control group, its supervisor. For whoever looks or enters from outside.

Nothing heavy is loaded: `clew node exec` is typed in loops.
"""

import socket
import struct
from pathlib import Path

from clew.cluster.paths import LabPaths
from clew.cluster.runtime.errors import NodeLostError

_CREDENTIALS = struct.Struct("3i")


def group_of(paths: LabPaths, node: str) -> str:
    return f"/clew/{paths.name}/{node}"


def connect(path: Path) -> tuple[socket.socket, int]:
    """A connection and the pid of the process that serves it. NodeLostError where nobody does."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.connect(str(path))  # a local socket's listener need not be scheduled for this to return
    except OSError as problem:
        made.close()
        raise NodeLostError(f"no supervisor at {path}: {problem.strerror}") from problem
    made.setblocking(False)
    pid, _, _ = _CREDENTIALS.unpack(made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return made, pid


def supervisor_pid(paths: LabPaths, node: str) -> int:
    """The living supervisor's process, 0 where the node is off."""
    try:
        made, pid = connect(paths.node_socket(node))
    except NodeLostError:
        return 0
    made.close()
    return pid
