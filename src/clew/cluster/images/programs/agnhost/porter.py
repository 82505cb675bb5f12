"""`porter`: serves the value of each variable SERVE_PORT_n on port n, by TCP or as the variable's name says."""

import _thread
import os
import signal
import socket
from collections.abc import Callable

from .flags import parse
from .signals import catch
from .wire import SCTP, Reply, Request, listener, log, serve_http, serve_streams, with_tls


def main(arguments: list[str]) -> int:
    values, _ = parse(arguments, {"json-response": False})
    wait = catch(signal.SIGINT, signal.SIGTERM)
    for name, text in os.environ.items():
        kind, _, port = name.rpartition("_")
        serve = SERVERS.get(kind)
        if serve is not None and port.isdigit():
            serve(int(port), text, bool(values["json-response"]))
            log(f"Serving on port {port}.")
    wait()
    return 0


def page(text: str, request: Request, *, as_json: bool) -> Reply:
    """The value, called HTML where it begins with a tag; or with the request's method in JSON."""
    if not as_json:
        return Reply(text, headers={"Content-Type": "text/html; charset=utf-8"} if text.startswith("<") else {})
    import json  # noqa: PLC0415  (slow to import, and rarely asked for)

    body = json.dumps({"Method": request.method, "Body": text}, separators=(",", ":"))
    return Reply(body, headers={"Content-Type": "application/json"})


def _http(server: socket.socket, text: str, *, as_json: bool) -> None:
    _thread.start_new_thread(serve_http, (server, lambda request: page(text, request, as_json=as_json)))


def _tcp(port: int, text: str, as_json: bool) -> None:  # noqa: FBT001  (one of a table of servers)
    _http(listener(port), text, as_json=as_json)


def _tls(port: int, text: str, as_json: bool) -> None:  # noqa: FBT001
    files = os.environ.get("CERT_FILE") or "/localhost.crt", os.environ.get("KEY_FILE") or "/localhost.key"
    _http(with_tls(listener(port), *files), text, as_json=as_json)


def _udp(port: int, text: str, as_json: bool) -> None:  # noqa: FBT001
    del as_json
    server = listener(port, socket.SOCK_DGRAM)

    def loop() -> None:
        while True:
            _, peer = server.recvfrom(16)
            server.sendto(text.encode(), peer)

    _thread.start_new_thread(loop, ())


def _sctp(port: int, text: str, as_json: bool) -> None:  # noqa: FBT001
    del as_json

    def talk(connection: socket.socket, peer: tuple[object, ...]) -> None:
        del peer
        connection.sendall(text.encode())

    _thread.start_new_thread(serve_streams, (listener(port, socket.SOCK_STREAM, SCTP), talk))


SERVERS: dict[str, Callable[[int, str, bool], None]] = {
    "SERVE_PORT": _tcp,
    "SERVE_TCP_PORT": _tcp,
    "SERVE_TLS_PORT": _tls,
    "SERVE_UDP_PORT": _udp,
    "SERVE_SCTP_PORT": _sctp,
}
