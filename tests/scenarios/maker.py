"""Sockets of processes in a node's control group: a process that joins the group and makes sockets for its parent.

A socket belongs for good to the network namespace and the control group of the process that made it. Standard library
only; the test process starts this file as a program.
"""

import array
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

CLONE_NEWNET = 0x40000000


class Maker:
    """The parent's end."""

    def __init__(self, group: Path) -> None:
        self._group = group
        group.mkdir(exist_ok=True)
        self._near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far:
            command = [sys.executable, "-IS", __file__, str(far.fileno()), str(group)]
            self._process = subprocess.Popen(command, pass_fds=[far.fileno()])

    def socket(self, where: Path, family: int, kind: int, protocol: int) -> socket.socket:
        self._near.send(json.dumps([str(where), family, kind, protocol]).encode())
        _said, descriptors, _flags, _from = socket.recv_fds(self._near, 16, 1)
        return socket.socket(fileno=descriptors[0])

    def close(self) -> None:
        self._near.close()
        self._process.wait(timeout=60)
        deadline = time.monotonic() + 60
        while True:  # the kernel lets go of a group a moment after its last process, or its last program
            try:
                self._group.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                threading.Event().wait(0.02)
            else:
                return


def main(descriptor: int, group: Path) -> None:
    """Until the parent closes its end."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket(fileno=descriptor) as channel:
        while asked := channel.recv(4096):
            where, family, kind, protocol = json.loads(asked)
            namespace = os.open(where, os.O_RDONLY)
            if libc.setns(namespace, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"enter {where}")
            os.close(namespace)
            with socket.socket(family, kind, protocol) as made:
                rights = array.array("i", [made.fileno()])
                channel.sendmsg([b"here"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
