"""Echo requests by raw sockets, one a family. The other side's kernel answers; nothing has to run there.

The kernel's own memory of path MTUs is passed over (IP_PMTUDISC_PROBE), since it is to be found out anew.
Source: RFC 792, RFC 4443; linux/in.h, linux/in6.h, linux/icmp.h.
"""

import asyncio
import os
import socket
import struct
from contextlib import suppress
from ipaddress import ip_address

from clew.kernel.echo.port import Reply
from clew.kernel.netns import Namespace, socket_in

_DISCOVER, _PROBE = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}, 3
_FILTER = {4: (255, 1), 6: (socket.IPPROTO_ICMPV6, 1)}  # SOL_RAW ICMP_FILTER, ICMPV6_FILTER: bits of what is dropped
_REQUEST, _ANSWER, _TOO_BIG = {4: 8, 6: 128}, {4: 0, 6: 129}, {4: 3, 6: 2}
_HEADER = {4: 20, 6: 40}
_ICMP = struct.Struct("!BBHHH")  # type, code, checksum, id, sequence
_FRAGMENTATION_NEEDED = 4  # the code beside type 3
_LARGEST = 1 << 16

Key = tuple[str, int]  # an address, a sequence number


class KernelEcho:
    """Of `ns`; None: the caller's namespace. Used by one event loop."""

    def __init__(self, ns: Namespace | None = None) -> None:
        self._ns = ns
        self._id = os.getpid() & 0xFFFF
        self._sequence = 0
        self._sockets: dict[int, socket.socket] = {}
        self._waiting: dict[Key, asyncio.Future[Reply]] = {}

    async def ask(self, address: str, size: int, seconds: float) -> Reply:
        family = 6 if ":" in address else 4
        self._sequence = (self._sequence + 1) & 0xFFFF
        key = address, self._sequence
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[key] = answer
        try:
            self._socket(family).sendto(self._request(family, size), (address, 0))
            async with asyncio.timeout(seconds):
                return await asyncio.shield(answer)
        except OSError:  # TimeoutError is one
            return self._late(family, answer)
        finally:
            del self._waiting[key]

    def close(self) -> None:
        for each in self._sockets.values():
            asyncio.get_running_loop().remove_reader(each.fileno())
            each.close()
        self._sockets = {}

    def _late(self, family: int, answer: "asyncio.Future[Reply]") -> Reply:
        """On a busy machine an answer that came in time is read only now: it counts."""
        if (sock := self._sockets.get(family)) is not None:
            self._heard(family, sock)
        return answer.result() if answer.done() and not answer.cancelled() else Reply(came=False)

    def _request(self, family: int, size: int) -> bytes:
        body = bytes(max(0, size - _HEADER[family] - _ICMP.size))
        bare = _ICMP.pack(_REQUEST[family], 0, 0, self._id, self._sequence)
        if family == 6:  # the kernel's part there
            return bare + body
        return _ICMP.pack(_REQUEST[family], 0, _checksum(bare), self._id, self._sequence) + body

    def _socket(self, family: int) -> socket.socket:
        if (there := self._sockets.get(family)) is not None:
            return there
        arguments = (
            (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            if family == 4
            else (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        )
        made = socket.socket(*arguments) if self._ns is None else socket_in(self._ns, *arguments)
        made.setblocking(False)
        made.setsockopt(*_DISCOVER[family], _PROBE)
        wanted = {_ANSWER[family], _TOO_BIG[family]}
        words = [~sum(1 << (each % 32) for each in wanted if each // 32 == word) & 0xFFFFFFFF for word in range(8)]
        made.setsockopt(*_FILTER[family], struct.pack("=8I", *words)[: 4 if family == 4 else 32])
        asyncio.get_running_loop().add_reader(made.fileno(), self._heard, family, made)
        self._sockets[family] = made
        return made

    def _heard(self, family: int, sock: socket.socket) -> None:
        with suppress(BlockingIOError, struct.error):
            while True:
                data, peer = sock.recvfrom(_LARGEST)
                self._read(family, data[(data[0] & 0xF) * 4 :] if family == 4 else data, peer[0])

    def _read(self, family: int, data: bytes, peer: str) -> None:
        kind, code, _, ident, sequence = _ICMP.unpack_from(data)
        if kind == _ANSWER[family]:
            self._settle(ident, (peer.partition("%")[0], sequence), Reply(came=True))
        elif family == 6 or code == _FRAGMENTATION_NEEDED:
            inner = data[_ICMP.size :]
            start = (inner[0] & 0xF) * 4 if family == 4 else _HEADER[6]
            target = str(ip_address(inner[16:20] if family == 4 else inner[24:40]))
            *_, ident, number = _ICMP.unpack_from(inner, start)
            mtu = sequence if family == 4 else int.from_bytes(data[4:8])  # where an echo has its two numbers
            self._settle(ident, (target, number), Reply(came=False, mtu=mtu))

    def _settle(self, ident: int, key: Key, reply: Reply) -> None:
        answer = self._waiting.get(key)
        if ident == self._id and answer is not None and not answer.done():
            answer.set_result(reply)


def _checksum(data: bytes) -> int:
    """RFC 1071; zeros, which are all that follows, change nothing."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
