"""Ports of this machine for servers of tests, that nobody else comes to have before the server does.

A port that the kernel chose and the test let go of again is the next one that any client on the machine may be given:
of two thousand tests beside each other one found its port taken, seldom. These lie below those that clients get.
"""

import itertools
import os
import socket
from pathlib import Path

FIRST = 10_000
LIMIT = min(30_000, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0]))
_NUMBERS = itertools.count(os.getpid() * 97)  # other processes begin elsewhere


def free_port() -> int:
    """One that nobody listens on, by TCP and by UDP, on any address of either family; each time another."""
    for number in itertools.islice(_NUMBERS, LIMIT - FIRST):
        port = FIRST + number % (LIMIT - FIRST)
        if _is_free(port):
            return port
    raise OSError("no port is free")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET6, kind) as probe:  # for IPv4 as well
            try:
                probe.bind(("::", port))
            except OSError:
                return False
    return True
