"""Receiving the terminal that the runtime makes for a process: it connects to a socket and sends the master end."""

import os
import socket
from pathlib import Path

_ROOM = 4


class Console:
    """A listening socket in `folder`, for one terminal."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "console.sock"
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # An identifier of a container may push the path over the 108 bytes a socket's name has.
        at = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        self._listener.bind(f"/proc/self/fd/{at}/console.sock")
        os.close(at)
        self._listener.listen(1)
        self._listener.setblocking(False)

    def take(self) -> int:
        """The terminal, once the runtime has ended well; OSError when it sent none."""
        peer, _ = self._listener.accept()
        with peer:
            peer.setblocking(True)
            peer.settimeout(5)
            _, fds, _, _ = socket.recv_fds(peer, 4096, _ROOM)
        if not fds:
            raise OSError(5, "the runtime sent no terminal")
        return fds[0]

    def close(self) -> None:
        self._listener.close()
        self.path.unlink(missing_ok=True)
