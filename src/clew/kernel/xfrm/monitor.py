"""Hears that somebody took or changed states or policies of IPsec, so that repair need not wait for the next reading.

What we ourselves do is told apart by the netlink port that our requests are signed with, which the kernel repeats.
Whose state it was is not looked at: a reason to read back, and no source of truth. Read by the event loop when the
socket is readable; it never blocks. Source: include/uapi/linux/xfrm.h, net/xfrm/xfrm_user.c.
"""

import contextlib
import errno
import socket
from collections.abc import Callable

from clew.kernel.errors import KernelError
from clew.kernel.netns import Namespace, socket_in
from clew.kernel.nfnetlink import NETLINK_XFRM, sender

GROUPS = 0x2 | 0x4 | 0x8  # XFRMNLGRP_EXPIRE, _SA, _POLICY
# XFRM_MSG_DELSA, _DELPOLICY, _EXPIRE, _UPDPOLICY, _UPDSA, _POLEXPIRE, _FLUSHSA, _FLUSHPOLICY
LESS = frozenset({0x11, 0x14, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D})
LARGEST = 1 << 16


class XfrmMonitor:
    """From now on, in `ns` (None: the caller's namespace). `own`: the netlink port that we change things by.

    KernelError where the kernel has no XFRM.
    """

    def __init__(self, own: Callable[[], int], ns: Namespace | None = None) -> None:
        self._own = own
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        arguments = (socket.AF_NETLINK, kind, NETLINK_XFRM)
        try:
            self._socket = socket.socket(*arguments) if ns is None else socket_in(ns, *arguments)
        except OSError as refusal:
            raise KernelError(refusal.errno or 0, "listen to XFRM") from refusal
        self._socket.bind((0, GROUPS))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> bool:
        """Whether, of all that waits to be heard, anything was taken or changed by somebody else."""
        found = False
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    data = self._socket.recv(LARGEST)
                except BlockingIOError:
                    raise
                except OSError as problem:
                    if problem.errno != errno.ENOBUFS:
                        raise KernelError(problem.errno or 0, "listen to XFRM") from problem
                    found = True  # events were lost
                    continue
                found |= any(kind in LESS and port != self._own() for kind, port in sender(data))
        return found

    def close(self) -> None:
        self._socket.close()
