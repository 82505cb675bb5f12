"""Small requests from the node's network, as probes and hooks ask by http, tcp and gRPC. No redirects are followed.

Connections are made by the supervisor inside the node and handed over, so that they come from the node's address.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address

from clew.api.objects import Object
from clew.base.errors import WorldError
from clew.cluster.kubelet.grpc_health import HealthError, check
from clew.cluster.runtime.errors import NodeError, NodeLostError
from clew.cluster.runtime.handle import NodeHandle

_AGENT = "kube-probe/1.37"
_MOST = 10 << 10  # bytes of a body that are looked at


class RequestError(WorldError):
    """It did not work; the text is as Go's client words it, since it ends in Events."""


def port_of(container: Object, port: int | str) -> int:
    """A port's number, by name where the container has one of that name. RequestError otherwise."""
    if isinstance(port, int):
        return port
    for each in container.get("ports") or ():
        if each.get("name") == port:
            return int(each["containerPort"])
    if str(port).isdecimal():
        return int(port)
    raise RequestError(f"couldn't find port: {port!r} in container {container['name']}")


@asynccontextmanager
async def connection(
    handle: NodeHandle, host: str, port: int, seconds: float, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A TCP connection from the node; RequestError says why there is none."""
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        ip_address(host)
    except ValueError:
        raise RequestError(f"dial tcp: lookup {host}: no such host") from None
    try:
        session, _ = await handle.open("connect", netns="", addresses=[host], port=port, timeout=seconds)
    except NodeLostError:
        raise
    except NodeError as problem:
        word = "connect: " if problem.message != "i/o timeout" else ""
        raise RequestError(f"dial tcp {shown}: {word}{problem.message}") from problem
    made = socket.socket(fileno=os.dup(session.fds[0]))
    session.close()
    made.setblocking(False)
    try:
        reader, writer = await asyncio.open_connection(sock=made, ssl=tls, server_hostname=host if tls else None)
    except OSError as problem:
        made.close()
        raise RequestError(str(problem)) from problem
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


async def http_get(
    handle: NodeHandle, container: Object, action: Object, address: str, seconds: float
) -> tuple[int, str]:
    """(status, beginning of the body) of an HTTPGetAction; `address` is the pod's. RequestError otherwise."""
    host, port = action.get("host") or address, port_of(container, action["port"])
    scheme = str(action.get("scheme") or "HTTP").lower()
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = action.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    url = f"{scheme}://{authority}{path}"
    tls = _any_certificate() if scheme == "https" else None
    headers = {"Host": authority, "User-Agent": _AGENT, "Accept": "*/*", "Connection": "close"}
    for each in action.get("httpHeaders") or ():
        headers[next((name for name in headers if name.lower() == each["name"].lower()), each["name"])] = each["value"]
    try:
        async with asyncio.timeout(seconds), connection(handle, host, port, seconds, tls) as (reader, writer):
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
            return await _answer(reader)
    except TimeoutError:
        raise RequestError(
            f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
        ) from None
    except NodeLostError:
        raise
    except (RequestError, OSError, ValueError) as problem:
        raise RequestError(f'Get "{url}": {problem}') from problem


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    line = await reader.readline()
    if not line:
        raise RequestError("EOF")
    parts = line.split()
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        raise RequestError(f"malformed HTTP response {line[:60].decode(errors='replace').strip()!r}")
    while (await reader.readline()).strip():
        pass
    body = await reader.read(_MOST)
    return int(parts[1]), body.decode(errors="replace")


async def tcp_open(handle: NodeHandle, host: str, port: int, seconds: float) -> None:
    """Connect and hang up; RequestError where nobody listens."""
    async with connection(handle, host, port, seconds):
        return


async def grpc_health(handle: NodeHandle, host: str, port: int, service: str, seconds: float) -> None:
    """A GRPCAction's question; RequestError says why the answer is not SERVING."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(seconds), connection(handle, host, port, seconds) as (reader, writer):
            await check(reader, writer, authority, service, _AGENT)
    except TimeoutError:
        raise RequestError(f'timeout: failed to connect service "{authority}" within {seconds:g}s') from None
    except HealthError as problem:
        raise RequestError(str(problem)) from problem
    except (EOFError, OSError) as problem:
        raise RequestError(f"error: health rpc probe failed: {problem or 'the connection ended'}") from problem


def _any_certificate() -> ssl.SSLContext:
    """Probes take any certificate, by design: what is asked is whether the server works."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
