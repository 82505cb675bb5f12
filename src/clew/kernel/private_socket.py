"""A Unix socket that only root may connect to, from its first moment on.

The mode is given to the socket before it has a name (Linux makes the file with it): no time between bind and chmod in
which another user could connect, and no umask of the process to be changed. Called by the CNI server, a node's
supervisor and the lab's daemon.
"""

import os
import socket
from pathlib import Path


def listen(path: Path, backlog: int = 128) -> socket.socket:
    """The listening socket, non-blocking, in place of what a former program left at `path`; its folder is made.

    OSError where it cannot be.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(bytes(path))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
