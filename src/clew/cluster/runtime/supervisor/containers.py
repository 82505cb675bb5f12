"""The node's containers: started through runc on a root file system of their own, watched, recorded, removed.

A container's overlay is mounted in a mount namespace that only its runc sees and that ends with it, so that nothing
has to be unmounted, whoever dies first. An exit is on disk before anybody hears of it.
"""

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from clew.cluster.runtime.supervisor import cgroups, runc, spawn
from clew.cluster.runtime.supervisor.console import Console
from clew.cluster.runtime.supervisor.logs import LogFile, stamp
from clew.cluster.runtime.supervisor.loop import Loop
from clew.cluster.runtime.supervisor.records import Record, Records
from clew.cluster.runtime.supervisor.stdio import Streams
from clew.cluster.runtime.supervisor.wire import STDERR, STDOUT, words
from clew.kernel import mounts, process

Done = Callable[[Record], None]


class RunRequest(NamedTuple):
    """What the kubelet asks for; paths are the node's."""

    id: str
    sandbox: str
    labels: dict[str, str]
    config: dict[str, Any]  # OCI runtime configuration; root.path is filled in here
    lowers: list[str]
    group: str
    log: str
    log_link: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    shared_mounts: bool = False  # a volume whose mounts the node is to see


class Containers:
    """`ended(record)` is told of every exit, after it is recorded."""

    def __init__(self, loop: Loop, records: Records, ended: Done) -> None:
        self._loop = loop
        self._records = records
        self._ended = ended
        self.all: dict[str, Record] = records.load()
        self.streams: dict[str, Streams] = {}
        for record in self.all.values():
            if record["state"] != "exited":  # the node lost power under it
                record |= {"state": "exited", "pid": 0, "code": 255, "signal": 0, "reason": "Unknown"}
                record["finished"] = stamp().decode()
                records.save(record["id"], record)

    def run(self, request: RunRequest, done: Done, failed: Callable[[str], None]) -> None:
        """Start it; `done(record)` when its process runs, `failed(reason)` when there is none."""
        _Start(self, self._loop, request, done, failed).begin()

    # Called by a start.

    def created(self, request: RunRequest) -> Record:
        record: Record = {
            "id": request.id, "sandbox": request.sandbox, "labels": request.labels, "group": request.group,
            "log": request.log, "log_link": request.log_link, "state": "created", "pid": 0,
            "created": stamp().decode(), "process": request.config["process"],
        }  # fmt: skip
        self.all[request.id] = record  # on disk once it runs: what lost power before that has never been
        return record

    def folder(self, identity: str) -> Path:
        return self._records.folder(identity)

    def running(self, record: Record, pid: int, streams: Streams) -> None:
        record |= {"state": "running", "pid": pid, "started": stamp().decode()}
        self._records.save(record["id"], record)
        self.streams[record["id"]] = streams
        self._loop.on_exit(pid, lambda status: self._exited(record, status))

    def never_ran(self, record: Record) -> None:
        self.all.pop(record["id"], None)
        self._discard(record)

    # Ending.

    def kill(self, identity: str, number: int) -> bool:
        """Send a signal to the container's first process; False where it has none."""
        record = self.all.get(identity)
        if record is None or not record["pid"]:
            return False
        with suppress(ProcessLookupError):
            os.kill(record["pid"], number)
        return True

    def remove(self, identity: str) -> None:
        """Forget a container that has ended, with its log link and its files; its logs stay."""
        record = self.all.get(identity)
        if record is None:
            return
        if record["state"] != "exited":
            raise OSError(16, f"container {identity} is {record['state']}")
        del self.all[identity]
        if record["log_link"]:
            Path(record["log_link"]).unlink(missing_ok=True)
        self._discard(record)

    def _exited(self, record: Record, status: int) -> None:
        code, number = spawn.exit_code(status)
        kills = cgroups.out_of_memory_kills(record["group"])
        for pid in cgroups.members(record["group"]):  # of a shared process namespace, or moved in by exec
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        streams = self.streams.pop(record["id"], None)
        if streams is not None:
            streams.finish()
        record |= {"state": "exited", "pid": 0, "code": code, "signal": number, "finished": stamp().decode()}
        record["reason"] = "OOMKilled" if kills else ""
        self._records.save(record["id"], record)
        if streams is not None:
            streams.tell_exit(code)
        self._clean(record)
        self._ended(record)

    def _clean(self, record: Record) -> None:
        """Take away what a container that has ended does not need; the record stays."""
        runc.forget(record["id"])
        folder = self.folder(record["id"])
        if (folder / "shared").exists():
            with suppress(OSError):
                mounts.unmount(str(folder / "rootfs"))
        self._delete(self._records.clear(record["id"], ("upper", "work", "config.json", "pid", "runc.log")))
        self._remove_group(record["group"])

    def _discard(self, record: Record) -> None:
        runc.forget(record["id"])
        if left := self._records.drop(record["id"]):
            self._delete(left)
        self._remove_group(record["group"])

    def _delete(self, path: Path) -> None:
        """In a process of its own, as a container's files may be many."""
        pid = spawn.start(["rm", "-rf", str(path)])
        self._loop.on_exit(pid, lambda _: None)

    def _remove_group(self, group: str) -> None:
        """The kernel needs a moment between a process's end and letting go of its group."""
        self._loop.again_and_again(lambda: not cgroups.remove(group))


class _Start:
    """One container on its way; everything it opened is closed on every path."""

    def __init__(
        self, owner: Containers, loop: Loop, request: RunRequest, done: Done, failed: Callable[[str], None]
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._request = request
        self._done = done
        self._failed = failed
        self._folder = owner.folder(request.id)
        self._stdin = -1
        self._outputs: dict[int, bytes] = {}
        self._theirs: list[int] = []
        self._console: Console | None = None
        self._record: Record = {}

    def begin(self) -> None:
        self._record = self._owner.created(self._request)
        try:
            self._bundle()
            pid = self._start_runtime()
        except OSError as problem:
            self._give_up(words(problem))
            return
        finally:
            for fd in self._theirs:
                os.close(fd)
        self._loop.on_exit(pid, self._runtime_ended, names_another=True)

    def _bundle(self) -> None:
        for name in ("rootfs", "upper", "work"):
            (self._folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        config = self._request.config
        config["root"]["path"] = str(self._folder / "rootfs")
        (self._folder / "config.json").write_text(json.dumps(config), encoding="utf-8")

    def _start_runtime(self) -> int:
        if self._request.tty:
            self._console = Console(self._folder)
            streams = (-1, -1, -1)
        else:
            streams = self._pipes()
        command = runc.run(self._request.id, self._folder, self._console.path if self._console else None)
        if self._request.shared_mounts:
            self._mount_root()
            (self._folder / "shared").touch()
            return spawn.start(command, stdin=streams[0], stdout=streams[1], stderr=streams[2])
        with process.elsewhere(process.NEWNS):
            process.unshare(process.NEWNS)
            mounts.propagation("/", mounts.SLAVE)
            self._mount_root()
            return spawn.start(command, stdin=streams[0], stdout=streams[1], stderr=streams[2])

    def _mount_root(self) -> None:
        mounts.overlay(
            str(self._folder / "rootfs"), self._request.lowers, str(self._folder / "upper"), str(self._folder / "work")
        )

    def _pipes(self) -> tuple[int, int, int]:
        stdin = -1
        if self._request.stdin:
            stdin, self._stdin = os.pipe()
            self._theirs.append(stdin)
        ends = []
        for kind in (STDOUT, STDERR):
            ours, theirs = os.pipe()
            self._outputs[ours] = kind
            self._theirs.append(theirs)
            ends.append(theirs)
        return stdin, ends[0], ends[1]

    def _runtime_ended(self, status: int) -> None:
        if status:
            self._give_up(runc.failure(self._folder))
            return
        try:
            pid = runc.pid_in(self._folder)
            if self._console is not None:
                terminal = self._console.take()
                self._console.close()
                self._stdin, self._outputs = terminal, {terminal: STDOUT}
            log = LogFile(self._request.log)
            self._link()
        except (OSError, ValueError) as problem:
            self._give_up(words(problem))
            return
        streams = Streams(self._loop, log, stdin_once=self._request.stdin_once, tty=self._request.tty)
        streams.begin(self._stdin, self._outputs)
        self._owner.running(self._record, pid, streams)
        self._done(self._record)

    def _link(self) -> None:
        if self._request.log_link:
            link = Path(self._request.log_link)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(self._request.log)

    def _give_up(self, reason: str) -> None:
        with suppress(OSError, ValueError):
            os.kill(runc.pid_in(self._folder), signal.SIGKILL)
        for fd in (*self._outputs, *([self._stdin] if self._stdin >= 0 else [])):
            with suppress(OSError):
                os.close(fd)
        if self._console is not None:
            self._console.close()
        if (self._folder / "shared").exists():
            with suppress(OSError):
                mounts.unmount(str(self._folder / "rootfs"))
        self._owner.never_ran(self._record)
        self._failed(reason)
