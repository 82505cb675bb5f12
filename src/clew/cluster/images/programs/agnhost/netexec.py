"""`netexec`: an HTTP server that says who it is and who asks, dials others, runs commands; partly by UDP and SCTP."""

import _thread
import contextlib
import os
import signal
import socket
import time

from .dial import dial
from .flags import Flag, UsageError, duration, parse
from .signals import catch
from .wire import SCTP, Handler, Reply, Request, listener, log, peer_text, serve_http, serve_streams, with_tls

FLAGS: dict[str, Flag] = {
    "http-port": 8080,
    "udp-port": 8081,
    "sctp-port": -1,
    "http-override": "",
    "udp-listen-addresses": "",
    "tls-cert-file": "",
    "tls-private-key-file": "",
    "delay-shutdown": 0,
}

_STARTED = time.monotonic()


class NetExec:
    """The handlers and what they share: whether a datagram server runs, and the sockets to close on the way out."""

    def __init__(self) -> None:
        self.ready = False
        self.servers: list[socket.socket] = []
        self.busy: set[int] = set()  # requests being answered
        self.routes: dict[str, Handler] = {
            "/clientip": self.client_ip,
            "/serverport": self.server_port,
            "/dial": dial,
            "/echo": self.echo,
            "/exit": self.exit,
            "/header": self.header,
            "/healthz": self.healthz,
            "/hostname": self.hostname,
            "/hostName": self.hostname,
            "/redirect": self.redirect,
            "/shell": self.shell,
            "/shutdown": self.shutdown,
            "/upload": self.upload,
        }

    def handle(self, request: Request) -> Reply:
        self.busy.add(id(request))
        try:
            return self.routes.get(request.path, self.root)(request)
        finally:
            self.busy.discard(id(request))

    def root(self, request: Request) -> Reply:
        log(f"GET {request.path}")
        now = time.time_ns()
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now // 10**9))
        return Reply(f"NOW: {moment}.{now % 10**9:09d} +0000 UTC m=+{time.monotonic() - _STARTED:.9f}")

    def client_ip(self, request: Request) -> Reply:
        log("GET /clientip")
        return Reply(request.peer)

    def server_port(self, request: Request) -> Reply:
        log("GET /serverport")
        return Reply(str(request.port))

    def echo(self, request: Request) -> Reply:
        message, code = request.value("msg"), request.value("code")
        log(f"GET /echo?msg={message}&code={code}")
        if not code:
            return Reply(message)
        if not code.isdigit() or not 200 <= int(code) <= 599:
            return Reply(f"argument 'code' must be an integer or empty, got \"{code}\"\n")
        return Reply(message, int(code))

    def header(self, request: Request) -> Reply:
        log(f"GET /header?key={request.value('key')}")
        return Reply(request.headers.get(request.value("key").lower(), ""))

    def healthz(self, request: Request) -> Reply:
        del request
        return Reply(status=200 if self.ready else 412)

    def hostname(self, request: Request) -> Reply:
        log(f"GET {request.path}")
        return Reply(socket.gethostname())

    def redirect(self, request: Request) -> Reply:
        location, code = request.value("location"), request.value("code") or "302"
        log(f"{request.method} /redirect?msg={location}&code={code}")
        if not code.isdigit() or not 300 <= int(code) <= 399:
            return Reply(f"argument 'code' must be an integer or empty, got \"{code}\"\n")
        return Reply(status=int(code), headers={"Location": location})

    def shell(self, request: Request) -> Reply:
        import json  # noqa: PLC0415  (slow to import, and rarely asked for)
        import subprocess  # noqa: PLC0415

        command = request.value("shellCommand") or request.value("cmd")
        log(f"GET /shell?cmd={command}")
        done = subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        output = {"output": done.stdout.decode("utf-8", "replace")} if done.stdout else {}
        if done.returncode > 0:
            output["error"] = f"exit status {done.returncode}"
        elif done.returncode:
            output["error"] = f"signal: {signal.strsignal(-done.returncode)}".lower()
        log(f"Output: {output}")
        return Reply(json.dumps(dict(sorted(output.items())), separators=(",", ":"), ensure_ascii=False))

    def upload(self, request: Request) -> Reply:
        del request
        return Reply("this stand-in takes no uploads\n", 501)

    def shutdown(self, request: Request) -> Reply:
        del request
        log("GET /shutdown")
        os._exit(0)

    def exit(self, request: Request) -> Reply:
        code, wait, limit = request.value("code") or "0", request.value("wait"), request.value("timeout")
        log(f"GET /exit?code={code}&timeout={limit}&wait={wait}")
        for name, text in (("timeout", limit), ("wait", wait)):
            try:
                duration(text or "0")
            except ValueError:
                return Reply(f"argument '{name}' must be a valid golang duration or empty, got \"{text}\"\n")
        if not code.isdigit() or int(code) > 127:
            return Reply(f"argument 'code' must be an integer [0-127] or empty, got \"{code}\"\n")
        time.sleep(max(0.0, duration(wait or "0")))  # noqa: TID251  (a thread of this request's own)
        if not duration(limit or "0"):
            os._exit(int(code))
        _thread.start_new_thread(self._leave, (int(code), duration(limit)))
        return Reply(headers={"Connection": "close"})

    def _leave(self, code: int, limit: float) -> None:
        """No new connections; those that are open have `limit` seconds."""
        for server in self.servers:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes accept, which close alone does not
            server.close()
        end = time.monotonic() + limit
        while self.busy and time.monotonic() < end:
            time.sleep(0.02)  # noqa: TID251  (a thread of its own; nothing else goes on)
        os._exit(code)


def answer(text: bytes, peer: str) -> bytes | None:
    """What the UDP and SCTP servers say to `text`; None where they say nothing."""
    command = text.decode("utf-8", "replace").strip().lower()
    if command == "hostname":
        return socket.gethostname().encode()
    if command == "clientip":
        return peer.encode()
    if command.startswith("echo "):
        return command[5:].encode()
    if command:
        log(f"Unknown command received from {peer}: {command}")
    return None


def main(arguments: list[str]) -> int:
    values, rest = parse(arguments, FLAGS)
    if rest:
        raise UsageError(f'unknown command "{rest[0]}" for "agnhost netexec"')
    wait = catch(signal.SIGTERM, signal.SIGINT)
    program = NetExec()
    if values["udp-port"] != -1:
        for address in sorted(set(str(values["udp-listen-addresses"]).split(","))):
            _serve_datagrams(program, int(values["udp-port"]), address)
    if values["sctp-port"] != -1:
        _serve_sctp(program, int(values["sctp-port"]))
    server = listener(int(values["http-port"]))
    if values["tls-cert-file"]:
        server = with_tls(server, str(values["tls-cert-file"]), str(values["tls-private-key-file"]))
    program.servers.append(server)
    override = str(values["http-override"])
    handler: Handler = program.handle
    if override:

        def handler(request: Request) -> Reply:
            replaced = Request("GET", override, request.headers, b"")
            replaced.peer, replaced.port = request.peer, request.port
            return program.handle(replaced)

    log(f"Started HTTP server on port {values['http-port']}")
    _thread.start_new_thread(serve_http, (server, handler))
    log(f"Shutting down after receiving signal: {signal.strsignal(wait())}")
    time.sleep(int(values["delay-shutdown"]))  # noqa: TID251  (a program of its own; it has nothing else to do)
    os._exit(0)


def _serve_datagrams(program: NetExec, port: int, address: str) -> None:
    server = listener(port, socket.SOCK_DGRAM, address=address)
    program.servers.append(server)
    program.ready = True
    log(f"Started UDP server on port {address} {port}")

    def loop() -> None:
        while True:
            try:
                text, peer = server.recvfrom(2048)
                reply = answer(text, peer_text(peer))
                if reply is not None:
                    server.sendto(reply, peer)
            except OSError as problem:
                if server.fileno() < 0:
                    program.ready = False
                    return
                log(f"UDP: {problem}")

    _thread.start_new_thread(loop, ())


def _serve_sctp(program: NetExec, port: int) -> None:
    server = listener(port, socket.SOCK_STREAM, SCTP)
    program.servers.append(server)
    program.ready = True
    log("Started SCTP server")

    def talk(connection: socket.socket, peer: tuple[object, ...]) -> None:
        reply = answer(connection.recv(1024), peer_text(peer))
        if reply is not None:
            connection.sendall(reply)

    _thread.start_new_thread(serve_streams, (server, talk))
