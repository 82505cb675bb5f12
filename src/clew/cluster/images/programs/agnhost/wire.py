"""Sockets and just enough HTTP/1.1: listeners on both families, requests parsed, replies written, a thread each."""

import _thread
import contextlib
import errno
import socket
import sys
import time
from collections.abc import Callable

SCTP = 132  # IANA protocol number; Python's constant depends on how it was built
LONGEST_LINE = 65536
LARGEST_BODY = 64 * 1024 * 1024

_REASONS = {200: "OK", 201: "Created", 302: "Found", 400: "Bad Request", 404: "Not Found", 412: "Precondition Failed"}


class Request:
    """One HTTP request. `query` holds the first value of each name, from the URL and from a posted form."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.peer = ""
        self.port = 0
        path, _, query = target.partition("?")
        self.path = unquote(path, plus=False)
        if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            query = body.decode("utf-8", "replace") + "&" + query
        self.query = parse_query(query)

    def value(self, name: str) -> str:
        return self.query.get(name, "")


class Reply:
    def __init__(self, body: str | bytes = "", status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.headers = {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}


class BadRequestError(Exception):
    """What came is not HTTP that this server reads."""


Handler = Callable[[Request], Reply]


def log(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y/%m/%d %H:%M:%S')} {text}\n")
    sys.stderr.flush()


def unquote(text: str, *, plus: bool = True) -> str:
    """Percent-decoding; a `+` is a space in a query and itself in a path."""
    parts = (text.replace("+", " ") if plus else text).split("%")
    out = bytearray(parts[0].encode())
    for part in parts[1:]:
        try:
            out += bytes([int(part[:2], 16)]) + part[2:].encode()
        except ValueError:
            out += b"%" + part.encode()
    return out.decode("utf-8", "replace")


def parse_query(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if name:
            found.setdefault(unquote(name), unquote(value))
    return found


def join(host: str, port: int | str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def peer_text(address: tuple[object, ...]) -> str:
    """`10.0.0.1:4000` or `[fd00::1]:4000`; IPv4 seen through an IPv6 socket is IPv4."""
    host = str(address[0]).removeprefix("::ffff:") if "." in str(address[0]) else str(address[0])
    return join(host, str(address[1]))


def listener(port: int, kind: int = socket.SOCK_STREAM, protocol: int = 0, address: str = "") -> socket.socket:
    """A bound (and, for streams, listening) socket: on `address`, or on every address of both families."""
    if address:
        return _bound(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, protocol, (address, port))
    try:
        return _bound(socket.AF_INET6, kind, protocol, ("::", port))
    except OSError as problem:
        if problem.errno in {errno.EACCES, errno.EADDRINUSE}:  # the other family would be no help
            raise
        return _bound(socket.AF_INET, kind, protocol, ("0.0.0.0", port))  # noqa: S104  (a server in a pod)


def _bound(family: int, kind: int, protocol: int, where: tuple[str, int]) -> socket.socket:
    opened = socket.socket(family, kind, protocol)
    try:
        if where[0] == "::":
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(where)
        if kind == socket.SOCK_STREAM:
            opened.listen(1024)
    except OSError:
        opened.close()
        raise
    return opened


def with_tls(server: socket.socket, certificate: str, key: str) -> socket.socket:
    """A listener whose connections shake hands when they are first read; `key` may be in `certificate`."""
    import ssl  # noqa: PLC0415  (slow to import, and rarely asked for)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key or None)
    return context.wrap_socket(server, server_side=True, do_handshake_on_connect=False)


def serve_streams(server: socket.socket, talk: Callable[[socket.socket, tuple[object, ...]], None]) -> None:
    """Accept for ever, each connection in a thread of its own; returns when the server socket is closed."""
    while True:
        try:
            connection, address = server.accept()
        except OSError:
            return
        _thread.start_new_thread(_talk_and_close, (connection, address, talk))


def _talk_and_close(
    connection: socket.socket, address: tuple[object, ...], talk: Callable[[socket.socket, tuple[object, ...]], None]
) -> None:
    with contextlib.suppress(OSError), connection:
        talk(connection, address)


def serve_http(server: socket.socket, handle: Handler) -> None:
    """Answer HTTP on a listening socket until it is closed; connections persist as HTTP/1.1 has it."""

    def talk(connection: socket.socket, address: tuple[object, ...]) -> None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection.makefile("rb") as stream:
            while True:
                try:
                    request = read_request(stream.readline, stream.read, connection.sendall)
                except (BadRequestError, ValueError):
                    connection.sendall(response(Reply("400 Bad Request", 400), head=False, close=True))
                    return
                if request is None:
                    return
                request.peer = peer_text(address)
                request.port = connection.getsockname()[1]
                reply = handle(request)
                close = wants_close(request) or reply.headers.get("Connection") == "close"
                connection.sendall(response(reply, head=request.method == "HEAD", close=close))
                if close:
                    return

    serve_streams(server, talk)


def read_request(
    readline: Callable[[int], bytes], read: Callable[[int], bytes], send: Callable[[bytes], object]
) -> Request | None:
    """The next request of a connection, None where it ended; BadRequestError or ValueError for what is not one."""
    line = readline(LONGEST_LINE)
    if not line:
        return None
    words = line.decode("latin-1").split()
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequestError(line)
    headers = {":version": words[2]}
    while (line := readline(LONGEST_LINE)).strip():
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or len(headers) > 200:
            raise BadRequestError(line)
        headers[name.strip().lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise BadRequestError("a body must come with its length")
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= LARGEST_BODY:
        raise BadRequestError("too long")
    if length and headers.get("expect", "").lower() == "100-continue":
        send(b"HTTP/1.1 100 Continue\r\n\r\n")
    return Request(words[0], words[1], headers, read(length) if length else b"")


def wants_close(request: Request) -> bool:
    wish = request.headers.get("connection", "").lower()
    return wish == "close" or (request.headers[":version"] == "HTTP/1.0" and wish != "keep-alive")


def response(reply: Reply, *, head: bool, close: bool) -> bytes:
    headers = {
        **reply.headers,
        "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
        "Content-Length": str(len(reply.body)),
    }
    if close:
        headers["Connection"] = "close"
    first = f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Status')}\r\n"
    lines = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in headers.items())
    return f"{first}{lines}\r\n".encode("latin-1", "replace") + (b"" if head else reply.body)


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")
