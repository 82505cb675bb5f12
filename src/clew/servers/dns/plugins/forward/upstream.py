"""One question to one upstream: UDP first, TCP when it was truncated or asked for; whatever else arrives is ignored."""

import asyncio
import secrets
import struct
from ipaddress import ip_address

from clew.base.errors import WorldError
from clew.base.value import Value
from clew.servers.dns.wire import Query

_TIMEOUT = 2.0  # seconds for one try


class Upstream(Value):
    host: str
    port: int = 53

    @classmethod
    def parse(cls, text: str) -> "Upstream":
        """`10.0.0.1`, `10.0.0.1:5353`, `fd00::1`, `[fd00::1]:5353`; ValueError for what is none of these."""
        text = text.removeprefix("dns://")
        host, port = text, "53"
        if text.startswith("["):
            host, _, port = text[1:].partition("]:")
            port = port or "53"
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} has no valid port")
        return cls(str(ip_address(host.partition("%")[0])), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Asker(asyncio.DatagramProtocol):
    """Waits for the datagram that answers exactly what was asked."""

    def __init__(self, message_id: bytes, question: bytes) -> None:
        self.message_id = message_id
        self.question = question
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - the socket is connected
        if not self.answer.done() and _answers(data, self.message_id, self.question):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(WorldError(str(exc)))


def _answers(data: bytes, message_id: bytes, question: bytes) -> bool:
    """The ID, the response bit and the question must be ours; else a stranger could poison the cache."""
    end = 12 + len(question)
    return (
        len(data) >= end
        and data[:2] == message_id
        and bool(data[2] & 0x80)
        and data[4:6] == b"\0\1"
        and data[12:end].lower() == question.lower()
    )


async def exchange(upstream: Upstream, query: Query) -> bytes:
    """The upstream's whole answer; WorldError when none comes in time or the way is closed."""
    message_id = secrets.token_bytes(2)
    message = message_id + query.raw[2:]
    try:
        async with asyncio.timeout(_TIMEOUT):
            if not query.tcp:
                answer = await _by_udp(upstream, message, query.question)
                if not answer[2] & 2:
                    return answer
            return await _by_tcp(upstream, message, query.question)
    except TimeoutError:
        raise WorldError(f"no answer within {_TIMEOUT:g} s") from None
    except OSError as error:
        raise WorldError(error.strerror or str(error)) from None


async def _by_udp(upstream: Upstream, message: bytes, question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, asker = await loop.create_datagram_endpoint(
        lambda: _Asker(message[:2], question), remote_addr=(upstream.host, upstream.port)
    )
    try:
        transport.sendto(message)
        return await asker.answer
    finally:
        transport.close()


async def _by_tcp(upstream: Upstream, message: bytes, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
    try:
        writer.write(struct.pack(">H", len(message)) + message)
        (length,) = struct.unpack(">H", await reader.readexactly(2))
        answer = await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise WorldError("the connection was closed before the answer") from None
    finally:
        writer.close()
    if not _answers(answer, message[:2], question):
        raise WorldError("the answer is not to our question")
    return answer
