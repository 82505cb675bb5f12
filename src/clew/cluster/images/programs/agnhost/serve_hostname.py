"""`serve-hostname`: the host's name over HTTP, or raw over TCP and UDP; goes on serving for a while after SIGTERM."""

import _thread
import contextlib
import signal
import socket
import time

from .flags import Flag, UsageError, leave, parse
from .signals import catch
from .wire import Reply, Request, listener, log, peer_text, serve_http, serve_streams

FLAGS: dict[str, Flag] = {
    "tcp": False,
    "udp": False,
    "http": True,
    "close": False,
    "close-connection": False,
    "port": 9376,
}

_LAST_SERVICE = 60  # seconds between SIGTERM and the end; the grace period usually ends it before


def main(arguments: list[str]) -> int:
    values, rest = parse(arguments, FLAGS)
    if rest:
        raise UsageError(f'unknown command "{rest[0]}" for "agnhost serve-hostname"')
    port = int(values["port"])
    wait = catch(signal.SIGTERM)
    if values["http"] and (values["tcp"] or values["udp"]):
        leave("Can't serve TCP/UDP mode and HTTP mode at the same time")
    if values["tcp"]:
        _thread.start_new_thread(serve_streams, (listener(port), _say_name))
    if values["udp"]:
        _thread.start_new_thread(_datagrams, (listener(port, socket.SOCK_DGRAM),))
    if values["http"]:
        close = bool(values["close"] or values["close-connection"])
        _thread.start_new_thread(serve_http, (listener(port), lambda request: _page(request, close=close)))
    log(f"Serving on port {port}.")
    wait()
    log("Shutting down after receiving signal: terminated.")
    log("Awaiting pod deletion.")
    time.sleep(_LAST_SERVICE)  # noqa: TID251  (a program of its own; its servers are threads)
    return 0


def _page(request: Request, *, close: bool) -> Reply:
    log(f"HTTP request from {request.peer}")
    return Reply(socket.gethostname(), headers={"Connection": "close"} if close else None)


def _say_name(connection: socket.socket, peer: tuple[object, ...]) -> None:
    log(f"TCP request from {peer_text(peer)}")
    connection.sendall(socket.gethostname().encode())


def _datagrams(server: socket.socket) -> None:
    while True:
        with contextlib.suppress(ConnectionError):  # an earlier reply found nobody
            _, peer = server.recvfrom(2048)
            log(f"UDP request from {peer_text(peer)}")
            server.sendto(socket.gethostname().encode(), peer)
