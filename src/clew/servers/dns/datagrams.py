"""A UDP socket read and written many datagrams a system call (recvmmsg(2), sendmmsg(2)).

One block of memory holds, for each of a batch's slots, the datagram, its peer's address and the kernel's headers; an
answer is written over its question, so that the same headers send it back to where it came from, from the address that
was asked (IP_PKTINFO). What costs is then the kernel's work and a dictionary look-up a query. Linux on 64-bit machines.
"""

import asyncio
import ctypes
import errno
import mmap
import socket
import struct
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeAlias

from clew.base.value import Value
from clew.servers.dns.quick import Quick

BATCH = 64  # datagrams a system call
_SLOT = 2048  # bytes; no answer by UDP is longer, and no honest question
_ROUNDS = 4  # batches before the loop may do something else
_HEADER = struct.Struct(
    "=QIxxxxQQQQixxxxIxxxx"
)  # struct mmsghdr: name, its size, iovec, 1, control, its size, flags, length
_NAME, _CONTROL = 32, 64  # room for an address and for a packet-info message
_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 8, 49, 50
_MOST_WAITING = 8192  # questions that wait for an upstream

_libc = ctypes.CDLL(None, use_errno=True)
_receive, _send = _libc.recvmmsg, _libc.sendmmsg
_receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)

Reply: TypeAlias = bytes | Awaitable[bytes]  # empty: silence


class Peer(Value):
    """Who asked, and on which of our addresses."""

    host: str
    port: int
    address: tuple[str, int] | tuple[str, int, int, int]
    info: bytes  # packet info to answer with; empty where the socket has one address


Answerer = Callable[[bytes, Peer], Reply]


class Datagrams:
    """`answer` is asked where `quick` knows nothing; `took` is told how many quick answers took how many seconds."""

    def __init__(self, sock: socket.socket, quick: Quick, answer: Answerer, took: Callable[[int, float], None]) -> None:
        self.sock = sock
        self.quick = quick
        self.answer = answer
        self.took = took
        self._waiting: set[asyncio.Task[None]] = set()
        self._wild = _ask_for_packet_info(sock)
        self._lay_out()

    def _lay_out(self) -> None:
        """Headers, io vectors, names, control messages and datagrams, one block."""
        header, vector = _HEADER.size, 16
        self._at_vectors = BATCH * header
        self._at_names = self._at_vectors + BATCH * vector
        at_control = self._at_names + BATCH * _NAME
        at_data = at_control + BATCH * _CONTROL
        self._area = mmap.mmap(-1, at_data + BATCH * _SLOT)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._area))
        self._starts = tuple(at_data + at * _SLOT for at in range(BATCH))
        room = _CONTROL if self._wild else 0
        headers = [
            _HEADER.pack(
                self._base + self._at_names + at * _NAME, _NAME, self._base + self._at_vectors + at * vector, 1,
                self._base + at_control + at * _CONTROL if room else 0, room, 0, 0,
            )
            for at in range(BATCH)
        ]  # fmt: skip
        vectors = [struct.pack("=QQ", self._base + start, _SLOT) for start in self._starts]
        self._blank = b"".join((*headers, *vectors))
        self._area[: len(self._blank)] = self._blank
        view = memoryview(self._area)
        self._numbers = view[: self._at_vectors].cast("I")
        self._sizes = view[self._at_vectors : self._at_names].cast("Q")
        self._indexes = view[at_control:at_data].cast("I")  # of interfaces, in each control message
        self._index = 4 if self.sock.family == socket.AF_INET else 8  # in_pktinfo begins with it, in6_pktinfo ends

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self.sock.fileno(), self._ready)

    async def stop(self) -> None:
        """Reads no more, and lets go of what waits."""
        asyncio.get_running_loop().remove_reader(self.sock.fileno())
        for task in list(self._waiting):
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        self.sock.close()

    def _ready(self) -> None:
        fd, base = self.sock.fileno(), self._base
        for _ in range(_ROUNDS):
            count = _receive(fd, base, BATCH, socket.MSG_DONTWAIT, None)
            if count <= 0:
                return
            self._take(count)
            if count < BATCH:
                return

    def _take(self, count: int) -> None:
        """Answer a batch: each question in its place, then all that is ready in one call."""
        began, quick = perf_counter(), 0
        young, area, starts = self.quick.young, self._area, self._starts
        numbers, sizes, indexes, wild = self._numbers, self._sizes, self._indexes, self._wild
        index = self._index
        first = 0
        for slot in range(count):
            start = starts[slot]
            entry = young.get(area[start + 2 : start + numbers[slot * 16 + 14]])
            if entry is not None:
                tail = entry[0]()
                entry[1].quick += 1
                quick += 1
                area[start + 2 : start + 2 + len(tail)] = tail
                sizes[slot * 2 + 1] = len(tail) + 2
            elif not self._ask(slot, start):
                self._flush(first, slot)
                first = slot + 1
            if wild:
                indexes[slot * 16 + index] = 0  # the way back is the routes' choice, not this interface's
        self._flush(first, count)
        area[: count * _HEADER.size] = self._blank[: count * _HEADER.size]
        area[self._at_vectors : self._at_vectors + count * 16] = self._blank[
            self._at_vectors : self._at_vectors + count * 16
        ]
        if quick:
            self.took(quick, perf_counter() - began)

    def _ask(self, slot: int, start: int) -> bool:
        """One question through the chain; True where its answer is in its place already."""
        size, flags = self._numbers[slot * 16 + 14], self._numbers[slot * 16 + 12]
        if flags & socket.MSG_TRUNC or size < 12:
            return False
        raw = self._area[start : start + size]
        entry = self.quick.again(raw[2:])
        if entry is not None:
            entry[1].slow += 1
            reply = raw[:2] + entry[0]()
        else:
            peer = self._peer(slot)
            made = self.answer(raw, peer)
            if not isinstance(made, bytes):
                self._wait(made, peer)
                return False
            reply = made
        if not reply:
            return False
        self._area[start : start + len(reply)] = reply
        self._sizes[slot * 2 + 1] = len(reply)
        return True

    def _peer(self, slot: int) -> Peer:
        at = self._at_names + slot * _NAME
        name = self._area[at : at + _NAME]
        port = int.from_bytes(name[2:4])
        info = b""
        if self._wild:
            at_control = self._at_names + BATCH * _NAME + slot * _CONTROL
            info = self._area[at_control + 16 : at_control + 36]
        if int.from_bytes(name[:2], "little") == socket.AF_INET:
            host = socket.inet_ntop(socket.AF_INET, name[4:8])
            return Peer(host, port, (host, port), info[:12])
        host = socket.inet_ntop(socket.AF_INET6, name[8:24])
        return Peer(host, port, (host, port, 0, int.from_bytes(name[24:28], "little")), info)

    def _flush(self, first: int, end: int) -> None:
        fd = self.sock.fileno()
        while first < end:
            sent = _send(fd, self._base + first * _HEADER.size, end - first, socket.MSG_DONTWAIT)
            if sent < 0 and ctypes.get_errno() == errno.EAGAIN:
                return  # the way out is full: askers ask again
            first += max(sent, 1)  # one that cannot be sent is left out

    def _wait(self, reply: Awaitable[bytes], peer: Peer) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            asyncio.ensure_future(reply).cancel()
            return

        async def later() -> None:
            data = await reply
            if data:
                self._send_to(data, peer)

        task = asyncio.get_running_loop().create_task(later())
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def _send_to(self, data: bytes, peer: Peer) -> None:
        extra = []
        if len(peer.info) == 12:
            extra = [(socket.IPPROTO_IP, _IP_PKTINFO, b"\0\0\0\0" + peer.info[4:8] + b"\0\0\0\0")]
        elif peer.info:
            extra = [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, peer.info[:16] + b"\0\0\0\0")]
        try:
            self.sock.sendmsg([data], extra, socket.MSG_DONTWAIT, peer.address)
        except OSError:
            return  # an asker that cannot be reached any more


def _ask_for_packet_info(sock: socket.socket) -> bool:
    """On a socket bound to every address the kernel tells with each datagram which one was asked."""
    if sock.getsockname()[0] not in {"0.0.0.0", "::"}:  # noqa: S104 - a comparison
        return False
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    return True
