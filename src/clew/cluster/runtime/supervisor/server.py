"""The node's requests and answers: one function an operation, each from a JSON message to a JSON message.

On a control connection every request has an `id`, which its answer repeats; errors are {"error": text, "errno": n}.
`exec`, `attach` and `connect` turn their connection into a session. After `subscribe`, a connection is told
{"event": "container" | "sandbox", "record": …} of every end.
"""

import base64
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clew.cluster.runtime.supervisor import boot, volumes
from clew.cluster.runtime.supervisor.connection import Connection
from clew.cluster.runtime.supervisor.containers import Containers, RunRequest
from clew.cluster.runtime.supervisor.execs import CollectedExec, Exec, ExecRequest
from clew.cluster.runtime.supervisor.loop import READ, Loop
from clew.cluster.runtime.supervisor.programs import Program
from clew.cluster.runtime.supervisor.records import Record, Records
from clew.cluster.runtime.supervisor.sandboxes import Sandboxes
from clew.cluster.runtime.supervisor.sockets import Connect
from clew.cluster.runtime.supervisor.wire import MESSAGE, PROTOCOL, Frame, words

Message = dict[str, Any]
Reply = Callable[[Message], None]


class Server:
    def __init__(self, loop: Loop, config: boot.BootConfig, listener: socket.socket) -> None:
        private = Path("/", boot.PRIVATE)
        self._loop = loop
        self._config = config
        self._listener = listener
        self._subscribers: list[Connection] = []
        self.containers = Containers(loop, Records(private / "containers"), self._container_ended)
        pause = private / "pause/pause"
        self.sandboxes = Sandboxes(loop, Records(private / "sandboxes"), pause, self._sandbox_gone)
        loop.watch(listener.fileno(), READ, self._accept)

    def _accept(self, _: int) -> None:
        peer, _address = self._listener.accept()
        connection = Connection(self._loop, peer)
        connection.on_frame = lambda found: self._request(connection, found)
        connection.on_close = lambda: self._gone(connection)

    def _gone(self, connection: Connection) -> None:
        if connection in self._subscribers:
            self._subscribers.remove(connection)

    def _request(self, connection: Connection, found: Frame) -> None:
        if found.type != MESSAGE:
            connection.close()
            return
        request = found.message
        number = request.get("id", 0)

        def reply(answer: Message) -> None:
            connection.tell({"id": number, **answer})

        operation = getattr(self, f"do_{request.get('op')}", None)
        session = getattr(self, f"open_{request.get('op')}", None)
        try:
            if operation is not None:
                operation(request, reply)
            elif session is not None:
                session(request, connection)
            elif request.get("op") == "subscribe":
                self._subscribers.append(connection)
                reply({})
            else:
                reply({"error": f"no operation {request.get('op')!r}", "errno": 38})
        except (OSError, KeyError, TypeError, ValueError) as problem:
            reply({"error": words(problem), "errno": getattr(problem, "errno", 0) or 0})

    def _tell_all(self, event: Message) -> None:
        for connection in list(self._subscribers):
            connection.tell(event)

    def _container_ended(self, record: Record) -> None:
        self._tell_all({"event": "container", "record": _shown(record)})

    def _sandbox_gone(self, record: Record) -> None:
        self._tell_all({"event": "sandbox", "record": record})

    # The node.

    def do_hello(self, _: Message, reply: Reply) -> None:
        reply({"node": self._config.name, "version": self._config.version, "protocol": PROTOCOL})

    def do_list(self, _: Message, reply: Reply) -> None:
        reply({
            "sandboxes": list(self.sandboxes.all.values()),
            "containers": [_shown(record) for record in self.containers.all.values()],
        })  # fmt: skip

    def do_program(self, request: Message, reply: Reply) -> None:
        data = base64.b64decode(request.get("stdin", ""))
        program = Program(self._loop, reply)
        program.start(request["argv"], request.get("env"), data, request.get("timeout", 0))

    # Sandboxes and containers.

    def do_sandbox_create(self, request: Message, reply: Reply) -> None:
        made = self.sandboxes.create(
            request["sandbox"], request["labels"], request["notes"], network=request["network"],
            sysctls=request.get("sysctls", {}),
        )  # fmt: skip
        reply({"record": made})

    def do_sandbox_start(self, request: Message, reply: Reply) -> None:
        self.sandboxes.start(
            request["sandbox"], hostname=request["hostname"], own_ipc=request["own_ipc"], score=request["score"],
            done=lambda record, problem: reply({"error": problem, "errno": 0} if problem else {"record": record}),
        )  # fmt: skip

    def do_sandbox_note(self, request: Message, reply: Reply) -> None:
        self.sandboxes.note(request["sandbox"], request["notes"])
        reply({})

    def do_sandbox_stop(self, request: Message, reply: Reply) -> None:
        self.sandboxes.stop(request["sandbox"])
        reply({})

    def do_sandbox_remove(self, request: Message, reply: Reply) -> None:
        self.sandboxes.remove(request["sandbox"])
        reply({})

    def do_run(self, request: Message, reply: Reply) -> None:
        wanted = RunRequest(**request["container"])
        self.containers.run(
            wanted,
            lambda record: reply({"record": _shown(record)}),
            lambda reason: reply({"error": reason, "errno": 0}),
        )

    def do_kill(self, request: Message, reply: Reply) -> None:
        reply({"sent": self.containers.kill(request["container"], request["signal"])})

    def do_remove(self, request: Message, reply: Reply) -> None:
        self.containers.remove(request["container"])
        reply({})

    def do_exec_wait(self, request: Message, reply: Reply) -> None:
        """An exec whose output is wanted with its code, for hooks and probes: a program that runs elsewhere."""
        record = self._running(request["container"])
        CollectedExec(self._loop, reply).start(record, request["argv"], request.get("timeout", 0))

    # Volumes.

    def do_folder(self, request: Message, reply: Reply) -> None:
        volumes.make_folder(request["path"], request["mode"], request.get("group"), request.get("memory"))
        reply({})

    def do_files(self, request: Message, reply: Reply) -> None:
        reply({"changed": volumes.write_files(request["path"], request["files"], request.get("group"))})

    def do_file(self, request: Message, reply: Reply) -> None:
        """One plain file: /etc/hosts of a pod, a termination message's place."""
        path = Path(request["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(request["text"], encoding="utf-8")  # in place: it may be bound into containers
        path.chmod(request["mode"])
        reply({})

    def do_host_path(self, request: Message, reply: Reply) -> None:
        volumes.host_path(request["path"], request["type"])
        reply({})

    def do_sub_path(self, request: Message, reply: Reply) -> None:
        volumes.sub_path(request["volume"], request["name"], request["place"])
        reply({})

    def do_remove_tree(self, request: Message, reply: Reply) -> None:
        self._loop.on_exit(volumes.remove_tree(request["path"]), lambda status: reply({"status": status}))

    def do_remove_files(self, request: Message, reply: Reply) -> None:
        """Files of one folder whose names begin so: a container's log and its rotated parts."""
        for found in Path(request["folder"]).glob(request["prefix"] + "*"):
            found.unlink(missing_ok=True)
        reply({})

    def do_remove_group(self, request: Message, reply: Reply) -> None:
        """A control group that is empty, or will be in a moment."""
        self.sandboxes.remove_group(request["group"])
        reply({})

    # Sessions.

    def open_exec(self, request: Message, connection: Connection) -> None:
        record = self._running(request["container"])
        wanted = ExecRequest(**request["exec"])
        running = Exec(
            self._loop,
            lambda fds: connection.tell(
                {"streams": [fd >= 0 for fd in fds], "tty": wanted.tty}, [fd for fd in fds if fd >= 0]
            ),
            lambda code: connection.tell({"exit": code}),
            lambda reason: connection.tell({"error": reason, "errno": 0}),
        )
        running.start(record, wanted)

    def open_attach(self, request: Message, connection: Connection) -> None:
        record = self._running(request["container"])
        connection.tell({"streams": [], "tty": bool(record["process"].get("terminal"))})
        self.containers.streams[record["id"]].attach(connection)

    def open_connect(self, request: Message, connection: Connection) -> None:
        def done(fd: int, reason: str) -> None:
            if fd < 0:
                connection.tell({"error": reason, "errno": 0})
            else:
                connection.tell({"streams": [True], "tty": False}, [fd])

        Connect(self._loop, done).start(
            request["netns"], request["addresses"], request["port"], request.get("timeout", 10)
        )

    def _running(self, identity: str) -> Record:
        record = self.containers.all.get(identity)
        if record is None or record["state"] != "running":
            raise OSError(3, f"container {identity} is not running")
        return record


def _shown(record: Record) -> Record:
    """A record without the process's description, which only exec needs and which holds the environment."""
    return {name: value for name, value in record.items() if name != "process"}
