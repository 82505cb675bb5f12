"""A server of the gRPC health protocol that says what it is told to, frame by frame (RFC 9113)."""

import asyncio

import pytest

from clew.cluster.kubelet.grpc_health import HealthError, check

SETTINGS = bytes.fromhex("000006 04 00 00000000 0003 00000064")
PING = bytes.fromhex("000008 06 00 00000000 0102030405060708")
HEADERS = bytes.fromhex("000001 01 04 00000001 88")  # :status 200
TRAILERS = bytes.fromhex("000001 01 05 00000001 88")


def message(body: bytes, flags: int = 0) -> bytes:
    return (len(body) + 5).to_bytes(3, "big") + bytes([0, flags, 0, 0, 0, 1, 0]) + len(body).to_bytes(4, "big") + body


def padded(body: bytes) -> bytes:
    inner = b"\x03" + b"\0" + len(body).to_bytes(4, "big") + body + b"\0\0\0"
    return len(inner).to_bytes(3, "big") + bytes([0, 8, 0, 0, 0, 1]) + inner


async def asked(*answer: bytes, service: str = "") -> bytes:
    """What the client sent, if it was content."""
    sent = bytearray()
    heard = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in answer:
            writer.write(each)
        writer.write_eof()
        sent.extend(await reader.read())
        writer.close()
        heard.set()

    server = await asyncio.start_server(serve, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    async with server:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            async with asyncio.timeout(30):
                await check(reader, writer, f"{host}:{port}", service, "kube-probe/1")
        finally:
            writer.close()
            await heard.wait()
    return bytes(sent)


@pytest.mark.parametrize(
    "answer", [(message(b"\x08\x01"),), (padded(b"\x08\x01"),), (message(b"\x08\x01")[:12], message(b"\x08\x01")[12:])]
)
async def test_serving_is_success_however_it_is_cut(answer: tuple[bytes, ...]) -> None:
    sent = await asked(SETTINGS, PING, HEADERS, *answer, TRAILERS, service="a.B")
    assert sent.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert b"/grpc.health.v1.Health/Check" in sent
    assert b"\x0a\x03a.B" in sent


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((HEADERS, message(b"\x08\x02")), 'responded with "NOT_SERVING"'),
        ((HEADERS, message(b"")), 'responded with "UNKNOWN"'),
        ((TRAILERS,), "does not implement the grpc health protocol"),
        ((bytes.fromhex("000004 03 00 00000001 00000008"),), "ended the call"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "does not speak HTTP/2"),
    ],
)
async def test_anything_else_is_not(answer: tuple[bytes, ...], words: str) -> None:
    with pytest.raises(HealthError, match=words):
        await asked(SETTINGS, *answer)


async def test_a_connection_that_ends_is_no_answer() -> None:
    with pytest.raises(EOFError):
        await asked(SETTINGS)
