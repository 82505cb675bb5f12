"""The containers of one node as the supervisor holds them: processes, standard streams, logs, exit codes.

One thread (`Streams.run`) moves all bytes and reaps all containers; requests come from other threads under a lock.
Standard library only.
"""

import array
import fcntl
import json
import os
import selectors
import socket
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from clew.cluster.oci import cgroups, syscalls
from clew.cluster.oci.logs import ContainerLog

Record = dict[str, Any]
_CHUNK = 64 << 10


def set_size(fd: int, columns: int, rows: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Container:
    """One instance; `record` is what the daemon is told of it."""

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder = folder
        self.record = record
        self.stdin = -1
        self.terminal = -1
        self.pidfd = -1
        self.open_streams = 0
        self.log: ContainerLog | None = None
        self.watchers: list[Callable[[int, bytes], None]] = []  # attached clients
        self.ended = threading.Event()

    def save(self) -> None:
        """The record on the disk, whole or not at all."""
        path = self.folder / "record.json"
        fresh = path.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump(self.record, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


class Containers:
    """All containers of the node."""

    def __init__(self, root: Path, cgroup: str) -> None:
        self.root = root
        self.cgroup = cgroup
        self.runc_root = str(root / "runc")
        self.known: dict[str, Container] = {}
        self.lock = threading.RLock()
        self.changed: Callable[[Record], None] = lambda _: None
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        self._selector.register(self._wake_r, selectors.EVENT_READ, None)
        self._todo: list[Callable[[], None]] = []

    # Requests, each in its client's thread.

    def run(self, request: Record) -> Record:
        """Start a container: mounts, streams, runc; returns its record. RuntimeError with runc's own words."""
        name = request["id"]
        folder = self.root / "containers" / name
        rootfs = folder / "rootfs"
        for part in ("upper", "work", "rootfs"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        if request["lowers"]:
            lower = ":".join(request["lowers"])
            data = f"lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work"
            syscalls.mount("overlay", str(rootfs), "overlay", 0, data)
        for path in request.get("mountpoints", ()):
            _mountpoint(rootfs, path, is_file=path in request.get("files", ()))
        config = request["config"]
        config["root"] = {"path": str(rootfs), "readonly": config["root"]["readonly"]}
        (folder / "config.json").write_text(json.dumps(config))
        container = Container(
            folder, {"id": name, "labels": request["labels"], "state": "created", "log": request["log"]}
        )
        container.log = ContainerLog(request["log"]) if request["log"] else None
        try:
            pid = self._start(container, request)
        except BaseException:
            syscalls.unmount(str(rootfs))
            raise
        container.record |= {
            "pid": pid,
            "state": "running",
            "started": time.time(),
            "cgroup": config["linux"]["cgroupsPath"],
        }
        container.pidfd = os.pidfd_open(pid)
        container.save()
        with self.lock:
            self.known[name] = container
        self._later(lambda: self._watch(container))
        return container.record

    def _start(self, container: Container, request: Record) -> int:
        folder = container.folder
        pidfile = folder / "pid"
        command = ["runc", "--root", self.runc_root, "run", "-d", "--bundle", str(folder), "--pid-file", str(pidfile)]
        mine: list[int] = []
        theirs: list[int] = []
        if request["tty"]:
            listener = socket.socket(socket.AF_UNIX)
            console = folder / "console.sock"
            console.unlink(missing_ok=True)
            listener.bind(str(console))
            listener.listen(1)
            command += ["--console-socket", str(console)]
            streams: tuple[Any, Any, Any] = (subprocess.DEVNULL, subprocess.DEVNULL, subprocess.PIPE)
        else:
            out_r, out_w = os.pipe()
            err_r, err_w = os.pipe()
            in_r, in_w = os.pipe() if request["stdin"] else (os.open(os.devnull, os.O_RDONLY), -1)
            mine, theirs = [out_r, err_r], [out_w, err_w, in_r]
            container.stdin = in_w
            streams = (in_r, out_w, err_w)
        done = subprocess.Popen([*command, request["id"]], stdin=streams[0], stdout=streams[1], stderr=streams[2])
        if request["tty"]:
            container.terminal = _receive_terminal(listener, done)
            mine = [container.terminal]
            container.stdin = os.dup(container.terminal)
        code = done.wait()
        for fd in theirs:
            os.close(fd)
        if code:
            text = _said(mine, done)
            for fd in mine:
                os.close(fd)
            raise RuntimeError(text or f"runc ended with {code}")
        container.record["streams"] = mine
        return int(pidfile.read_text())

    def signal(self, name: str, number: int) -> None:
        container = self.known.get(name)
        if container is not None and container.record["state"] == "running":
            with suppress(ProcessLookupError):
                os.kill(container.record["pid"], number)

    def remove(self, name: str) -> None:
        """Forget an ended container and all it left; one that runs is killed first."""
        with self.lock:
            container = self.known.get(name)
        if container is None:
            return
        if container.record["state"] == "running":
            self.signal(name, 9)
            container.ended.wait(10)
        subprocess.run(["runc", "--root", self.runc_root, "delete", "-f", name], capture_output=True, check=False)
        syscalls.unmount(str(container.folder / "rootfs"))
        subprocess.run(["rm", "-rf", "--one-file-system", str(container.folder)], check=False)
        with self.lock:
            self.known.pop(name, None)

    def listing(self) -> list[Record]:
        with self.lock:
            return [_public(each.record) for each in self.known.values()]

    def attach(self, name: str, take: Callable[[int, bytes], None]) -> Container:
        container = self.known[name]
        with self.lock:
            container.watchers.append(take)
        return container

    def detach(self, container: Container, take: Callable[[int, bytes], None]) -> None:
        with self.lock:
            if take in container.watchers:
                container.watchers.remove(take)

    # The streams' thread.

    def _later(self, step: Callable[[], None]) -> None:
        with self.lock:
            self._todo.append(step)
        os.write(self._wake_w, b"x")

    def move(self) -> None:
        """For ever: bytes to logs and attached clients, exits to records."""
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    os.read(self._wake_r, 4096)
                    with self.lock:
                        steps, self._todo = self._todo, []
                    for step in steps:
                        step()
                else:
                    key.data()

    def _watch(self, container: Container) -> None:
        streams = container.record.pop("streams", [])
        for at, fd in enumerate(streams):
            channel = at + 1
            container.open_streams += 1
            self._selector.register(
                fd, selectors.EVENT_READ, lambda fd=fd, channel=channel: self._read(container, fd, channel)
            )
        self._selector.register(container.pidfd, selectors.EVENT_READ, lambda: self._ended(container))

    def _read(self, container: Container, fd: int, channel: int) -> None:
        try:
            data = os.read(fd, _CHUNK)
        except OSError:
            data = b""  # a terminal whose last user is gone says EIO
        if not data:
            self._selector.unregister(fd)
            os.close(fd)
            container.open_streams -= 1
            self._finish(container)
            return
        if container.log is not None:
            container.log.write("stdout" if channel == 1 else "stderr", data)
        for take in tuple(container.watchers):
            take(channel, data)

    def _ended(self, container: Container) -> None:
        self._selector.unregister(container.pidfd)
        os.close(container.pidfd)
        record = container.record
        try:
            _, status = os.waitpid(record["pid"], 0)
            code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            code = 255
        record |= {
            "state": "exited", "finished": time.time(), "code": code if code >= 0 else 128 - code,
            "signal": -code if code < 0 else 0, "oom": cgroups.was_killed_for_memory(record["cgroup"].lstrip("/")),
        }  # fmt: skip
        container.save()
        self._finish(container)
        container.ended.set()
        self.changed(_public(record))

    def _finish(self, container: Container) -> None:
        """The last byte and the exit have both been seen: nobody waits for more."""
        if container.open_streams or container.record["state"] != "exited":
            return
        if container.log is not None:
            container.log.finish()
            container.log = None
        for take in tuple(container.watchers):
            take(0, b"")
        if container.stdin >= 0:
            os.close(container.stdin)
            container.stdin = -1


def _public(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "streams"}


def _mountpoint(rootfs: Path, path: str, *, is_file: bool) -> None:
    """A place to mount on, which an image may lack; never through a link that leads out of the root."""
    target = rootfs / path.lstrip("/")
    if target.is_symlink() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_file:
        target.touch()
    else:
        target.mkdir()


def _receive_terminal(listener: socket.socket, runc: "subprocess.Popen[bytes]") -> int:
    """The pty's master side, sent by runc; RuntimeError with its words when it fails first."""
    listener.settimeout(10)
    try:
        connection, _ = listener.accept()
        fds = array.array("i")
        _, ancillary, _, _ = connection.recvmsg(256, socket.CMSG_LEN(fds.itemsize))
        for _, _, data in ancillary:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        connection.close()
        return fds[0]
    except (TimeoutError, IndexError):
        runc.kill()
        raise RuntimeError((runc.stderr.read().decode() if runc.stderr else "") or "runc gave no terminal") from None
    finally:
        listener.close()


def _said(streams: list[int], runc: "subprocess.Popen[bytes]") -> str:
    """What runc wrote before it gave up: on its stderr, which is the container's own pipe."""
    if runc.stderr is not None:
        return runc.stderr.read().decode(errors="replace").strip()
    text = b""
    for fd in streams:
        os.set_blocking(fd, False)
        try:
            text += os.read(fd, _CHUNK)
        except BlockingIOError:
            continue
    return text.decode(errors="replace").strip()
