"""Streams between the daemon and a process: exec, attach, TCP; framed as channel, length, bytes. Standard library only.

Channels: 0 to stdin, 1 stdout, 2 stderr, 3 the exit code as text (the last frame), 4 terminal size `COLS ROWS`, 5 end
of input.
"""

import json
import os
import pty
import selectors
import socket
import struct
import subprocess
import threading
from contextlib import suppress
from typing import Any

from clew.cluster.oci import syscalls
from clew.cluster.oci.containers import Containers, set_size

Request = dict[str, Any]
INPUT, OUT, ERR, EXIT, SIZE, END = range(6)
_HEAD = struct.Struct(">BI")
_CHUNK = 64 << 10


class Peer:
    """The daemon's end; frames are sent whole, from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._lock = threading.Lock()

    def send(self, channel: int, data: bytes) -> None:
        with self._lock, suppress(OSError):
            self.connection.sendall(_HEAD.pack(channel, len(data)) + data)

    def receive(self) -> tuple[int, bytes] | None:
        head = self._exactly(_HEAD.size)
        if head is None:
            return None
        channel, length = _HEAD.unpack(head)
        data = self._exactly(length)
        return None if data is None else (channel, data)

    def _exactly(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            try:
                part = self.connection.recv(count - len(data))
            except OSError:
                return None
            if not part:
                return None
            data += part
        return data


def _feed(peer: Peer, stdin: int, terminal: int) -> None:
    """Frames from the daemon to the process, until either goes."""
    while (frame := peer.receive()) is not None:
        channel, data = frame
        try:
            if channel == INPUT and stdin >= 0:
                view = memoryview(data)
                while view:
                    view = view[os.write(stdin, view) :]
            elif channel == SIZE and terminal >= 0:
                columns, rows = data.split()
                set_size(terminal, int(columns), int(rows))
            elif channel == END and stdin >= 0 and terminal < 0:
                os.close(stdin)
                stdin = -1
        except OSError:
            stdin = -1
    if stdin >= 0 and terminal < 0:
        with suppress(OSError):
            os.close(stdin)


def execute(containers: Containers, request: Request, connection: socket.socket) -> None:
    """A command inside a running container, by `runc exec` in the foreground: its exit code is the command's."""
    peer = Peer(connection)
    container = containers.known[request["id"]]
    process = container.folder / f"process-{threading.get_native_id()}.json"
    process.write_text(json.dumps(request["process"]))
    command = ["runc", "--root", containers.runc_root, "exec", "--process", str(process), request["id"]]
    terminal = -1
    if request["tty"]:
        terminal, slave = pty.openpty()
        running = subprocess.Popen(["setsid", "--ctty", "--wait", *command], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        streams, stdin = [(terminal, OUT)], os.dup(terminal)
    else:
        running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert running.stdin and running.stdout and running.stderr  # noqa: S101, PT018 - PIPE was asked for
        streams = [(running.stdout.fileno(), OUT), (running.stderr.fileno(), ERR)]
        stdin = os.dup(running.stdin.fileno())
        running.stdin.close()
        if not request["stdin"]:
            os.close(stdin)
            stdin = -1
    feeder = threading.Thread(target=_feed, args=(peer, stdin, terminal), daemon=True)
    feeder.start()
    _relay(streams, peer)
    code = running.wait()
    process.unlink(missing_ok=True)
    peer.send(EXIT, str(code if code >= 0 else 128 - code).encode())
    connection.close()


def _relay(streams: list[tuple[int, int]], peer: Peer) -> None:
    selector = selectors.DefaultSelector()
    for fd, channel in streams:
        selector.register(fd, selectors.EVENT_READ, channel)
    while selector.get_map():
        for key, _ in selector.select():
            try:
                data = os.read(key.fd, _CHUNK)
            except OSError:
                data = b""
            if data:
                peer.send(key.data, data)
            else:
                selector.unregister(key.fd)
    selector.close()


def attach(containers: Containers, request: Request, connection: socket.socket) -> None:
    """The standard streams of a running container, shared with its log and with others who are attached."""
    peer = Peer(connection)
    done = threading.Event()

    def take(channel: int, data: bytes) -> None:
        if channel:
            peer.send(channel, data)
        else:
            done.set()

    container = containers.attach(request["id"], take)
    stdin = container.stdin if request["stdin"] else -1
    copy = os.dup(stdin) if stdin >= 0 else -1

    def feed() -> None:
        _feed(peer, copy, container.terminal)
        if request.get("once") and container.stdin >= 0 and container.terminal < 0:
            os.close(container.stdin)
            container.stdin = -1

    threading.Thread(target=feed, daemon=True).start()
    if container.record["state"] == "exited" and not container.open_streams:
        done.set()
    while not done.wait(0.5):
        if container.record["state"] == "exited" and not container.open_streams:
            break
    containers.detach(container, take)
    peer.send(EXIT, str(container.record.get("code", 0)).encode())
    connection.close()


def connect(request: Request, connection: socket.socket) -> None:
    """A TCP connection made inside a network namespace; raw bytes from here on."""
    if request.get("netns"):
        syscalls.setns(request["netns"], syscalls.CLONE_NEWNET)  # this thread ends with the connection
    far = socket.create_connection((request["host"], request["port"]), timeout=request.get("timeout", 10))
    far.settimeout(None)
    connection.sendall(b'{"ok":true}\n')

    def outward() -> None:
        with suppress(OSError):
            while data := connection.recv(_CHUNK):
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=outward, daemon=True)
    thread.start()
    with suppress(OSError):
        while data := far.recv(_CHUNK):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    thread.join(30)
    far.close()
    connection.close()
