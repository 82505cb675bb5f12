"""A resolver under a test's control: UDP, TCP and TLS on one port, every question noted."""

import asyncio
import datetime as dt
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import dns.message
import dns.rrset
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.free_port import free_port

Reply = Callable[[dns.message.Message], dns.message.Message | bytes | None]


class Asked:
    def __init__(self, message: dns.message.Message, proto: str, port: int) -> None:
        self.message = message
        self.proto = proto
        self.port = port  # the asker's


def address(query: dns.message.Message, ip: str = "192.0.2.7", ttl: int = 60) -> dns.message.Message:
    """An answer with one address."""
    answer = dns.message.make_response(query)
    answer.answer.append(dns.rrset.from_text(query.question[0].name, ttl, "IN", "A", ip))
    return answer


class Resolver:
    """`reply` makes the answers; None is silence."""

    def __init__(self, reply: Reply = address) -> None:
        self.reply = reply
        self.asked: list[Asked] = []
        self.connections = 0

    def answer(self, data: bytes, proto: str, port: int) -> bytes | None:
        query = dns.message.from_wire(data)
        self.asked.append(Asked(query, proto, port))
        made = self.reply(query)
        return made.to_wire() if isinstance(made, dns.message.Message) else made

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        proto = "tls" if writer.get_extra_info("ssl_object") else "tcp"
        try:
            while True:
                (length,) = struct.unpack(">H", await reader.readexactly(2))
                made = self.answer(await reader.readexactly(length), proto, writer.get_extra_info("peername")[1])
                if made:
                    writer.write(struct.pack(">H", len(made)) + made)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        made = self.resolver.answer(data, "udp", addr[1])
        if made:
            self.transport.sendto(made, addr)  # type: ignore[attr-defined]


@asynccontextmanager
async def serving(resolver: Resolver, port: int = 0, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    port = port or free_port()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(resolver), ("127.0.0.1", port))
    server = await asyncio.start_server(resolver.connection, "127.0.0.1", port, ssl=context)
    try:
        yield port
    finally:
        transport.close()
        server.close()


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context for a name and 127.0.0.1, and the authority that vouches for it (itself)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(7)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = folder / f"{name}.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context, pem
