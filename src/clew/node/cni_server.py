"""The agent's Unix socket for the CNI plugin: one call a connection, the namespace's descriptor with it.

Only root may connect (mode 0600 and the peer's credentials). Framing is cni/framing.py's; what a call does is
cni_calls.py's. asyncio's streams cannot receive descriptors, hence plain sockets here.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from pathlib import Path

from clew.base.errors import UserError
from clew.cni import framing, result
from clew.cni.errors import CniError, Code
from clew.cni.versions import NEWEST
from clew.kernel import netns, private_socket
from clew.node.cni_calls import CniCalls, Place

logger = logging.getLogger(__name__)

CALL_SECONDS = 10  # to hand over a call, which the plugin has at hand
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


def listen(path: Path) -> socket.socket:
    """The listening socket, in place of one that a former agent left; UserError where it cannot be."""
    try:
        return private_socket.listen(path)
    except OSError as problem:
        raise UserError(
            f"cannot listen on {path}: {problem.strerror}", "see socketPath in the AgentConfiguration"
        ) from problem


async def serve(listener: socket.socket, calls: CniCalls) -> None:
    """For ever; calls run side by side."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        while True:
            peer, _ = await loop.sock_accept(listener)
            group.create_task(_converse(peer, calls))


async def _converse(peer: socket.socket, calls: CniCalls) -> None:
    with peer:
        _pid, uid, _gid = CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        if uid != 0:
            logger.warning("refused a call of user %d on the CNI socket", uid)
            return
        descriptors: list[int] = []
        try:
            answer = await _answer(peer, calls, descriptors)
            with contextlib.suppress(OSError):  # a runtime that gave up: it will DEL, or GC
                await asyncio.get_running_loop().sock_sendall(peer, answer)
        finally:
            for fd in descriptors:
                os.close(fd)


async def _answer(peer: socket.socket, calls: CniCalls, descriptors: list[int]) -> bytes:
    try:
        async with asyncio.timeout(CALL_SECONDS):
            data = await _receive(peer, descriptors)
    except (TimeoutError, OSError) as problem:
        refusal = CniError(Code.IO_FAILURE, "the call did not arrive whole", str(problem))
        return framing.encode_answer(result.encode_error(refusal, NEWEST), failed=True)
    try:
        ns = descriptors[0] if descriptors else None
        return await calls.answer(data, ns, _place(ns))
    except Exception:  # a call that trips over a defect must not take the node's services down with it
        logger.exception("a CNI call failed by our own fault")
        defect = CniError(Code.DEFECT, "the agent has a defect", "its log has the traceback")
        return framing.encode_answer(result.encode_error(defect, NEWEST), failed=True)


def _place(ns: int | None) -> Place:
    if ns is None or not netns.is_one(ns):
        return "pod" if ns is None else "nowhere"
    return "node" if netns.identity(ns) == netns.current() else "pod"


async def _receive(peer: socket.socket, descriptors: list[int]) -> bytes:
    """All that the plugin sends, to the end; descriptors that came along are added to `descriptors`."""
    data = b""
    while True:
        await _readable(peer)
        part, found, _flags, _address = socket.recv_fds(peer, 65536, 4, socket.MSG_CMSG_CLOEXEC)
        descriptors += found
        if not part:
            return data
        data += part
        if len(data) > framing.LARGEST:
            raise OSError(f"it is longer than {framing.LARGEST} bytes")


async def _readable(peer: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(peer.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(peer.fileno())
