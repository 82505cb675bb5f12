"""A node without a node: what NodeHandle is to a kubelet, for tests; one suite holds it to the real supervisor.

Records are kept and told as the supervisor does. Programs are two: `sleep SECONDS`, which as a container's first
process does not obey SIGTERM, and `sh -c "exit CODE"`; a shell whose script begins with `trap` runs until SIGTERM.
"""

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from clew.base.clock import Clock
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.channel import Answer
from clew.cluster.runtime.errors import NodeError

Listener = Callable[[Answer], None]
Record = dict[str, Any]


class FakeNode:
    """`files` is what was written by path; `refuse` holds, by operation, what to refuse it with, until taken out."""

    def __init__(self, paths: LabPaths, node: str, clock: Clock) -> None:
        self.paths = paths
        self.node = node
        self.group = f"/clew/{paths.name}/{node}"
        self.files: dict[str, Any] = {}
        self.refuse: dict[str, str] = {}
        self.calls: list[str] = []
        self.programs: Callable[[dict[str, str]], Record] = lambda _: _program("{}")
        self.execs: Callable[[list[str]], tuple[int, str]] = lambda _: (0, "")
        self._clock = clock
        self._sandboxes: dict[str, Record] = {}
        self._containers: dict[str, Record] = {}
        self._listeners: list[Listener] = []
        self._ends: dict[str, asyncio.TimerHandle] = {}

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    async def ask(self, op: str, **arguments: Any) -> Answer:
        """As NodeHandle.ask."""
        self.calls.append(op)
        await asyncio.sleep(0)
        if op in self.refuse:
            raise NodeError(self.refuse[op])
        answer: Answer | None = getattr(self, f"_{op}")(**arguments)
        return answer or {}

    # What a test does to it.

    def lose_pause(self, sandbox: str) -> None:
        """Its pause process is killed."""
        self._sandboxes[sandbox] |= {"state": "lost", "pid": 0, "code": 137}
        self._tell("sandbox", self._sandboxes[sandbox])

    def end(self, container: str, code: int, number: int = 0) -> None:
        """The container's first process ends."""
        record = self._containers[container]
        if record["state"] == "exited":
            return
        if (timer := self._ends.pop(container, None)) is not None:
            timer.cancel()
        record |= {"state": "exited", "pid": 0, "code": code, "signal": number, "reason": "", "finished": self._now()}
        self._tell("container", record)

    # Operations.

    def _list(self) -> Answer:
        return {"sandboxes": list(self._sandboxes.values()), "containers": list(self._containers.values())}

    def _sandbox_create(
        self, sandbox: str, labels: dict[str, str], notes: Record, *, network: bool, sysctls: dict[str, str]
    ) -> Answer:
        netns = f"/run/netns/cni-{sandbox}" if network else ""
        made: Record = {
            "id": sandbox, "labels": labels, "netns": netns, "pid": 0, "state": "created", "created": self._now(),
            "sysctls": sysctls, "notes": notes,
        }  # fmt: skip
        self._sandboxes[sandbox] = made
        return {"record": made}

    def _sandbox_start(self, sandbox: str, *, hostname: str, own_ipc: bool, score: int) -> Answer:
        del hostname, own_ipc, score
        self._sandboxes[sandbox] |= {"pid": 100, "state": "ready", "started": self._now()}
        return {"record": self._sandboxes[sandbox]}

    def _sandbox_note(self, sandbox: str, notes: Record) -> None:
        self._sandboxes[sandbox]["notes"] |= notes

    def _sandbox_stop(self, sandbox: str) -> None:
        if sandbox in self._sandboxes:
            self._sandboxes[sandbox] |= {"state": "stopped", "pid": 0}

    def _sandbox_remove(self, sandbox: str) -> None:
        self._sandboxes.pop(sandbox, None)

    def _run(self, container: Record) -> Answer:
        args = container["config"]["process"]["args"]
        if args[0] not in {"sleep", "sh"}:
            raise NodeError(f'exec: "{args[0]}": stat {args[0]}: no such file or directory')
        made: Record = {
            **{name: container[name] for name in ("id", "sandbox", "labels", "group", "log")}, "log_link": "",
            "state": "running", "pid": 200, "created": self._now(), "started": self._now(),
        }  # fmt: skip
        identity = container["id"]
        self._containers[identity] = made
        loop = asyncio.get_running_loop()
        if args[0] == "sleep":
            self._ends[identity] = loop.call_later(float(args[1]), self.end, identity, 0)
        elif args[2].startswith("exit"):
            self._ends[identity] = loop.call_later(0.0, self.end, identity, int(args[2].split()[1]))
        made["trap"] = args[-1].startswith("trap")
        return {"record": made}

    def _kill(self, container: str, signal: int) -> Answer:
        record = self._containers.get(container)
        if record is None or not record["pid"]:
            return {"sent": False}
        self._deliver(record, signal)
        return {"sent": True}

    def _deliver(self, record: Record, number: int) -> None:
        if number == signal.SIGKILL:
            self.end(record["id"], 137, number)
        elif number == signal.SIGTERM and record["trap"]:
            self.end(record["id"], 0)

    def _remove(self, container: str) -> None:
        record = self._containers.get(container)
        if record is not None and record["state"] != "exited":
            raise NodeError(f"container {container} is {record['state']}", 16)
        self._containers.pop(container, None)

    def _exec_wait(self, container: str, argv: list[str], timeout: float = 0) -> Answer:
        del timeout
        if self._containers.get(container, {}).get("state") != "running":
            raise NodeError(f"container {container} is not running", 3)
        code, output = self.execs(argv)
        return {"code": code, "output": output, "timed_out": False, "problem": ""}

    def _program(self, argv: list[str], env: dict[str, str], stdin: str, timeout: float) -> Answer:
        del argv, stdin, timeout
        return self.programs(env)

    def _file(self, path: str, text: str, mode: int) -> None:
        del mode
        self.files[path] = text

    def _files(self, path: str, files: Record, group: int | None) -> Answer:
        del group
        changed = self.files.get(path) != files
        self.files[path] = files
        return {"changed": changed}

    def _folder(self, path: str, mode: int, group: int | None, memory: int | None) -> None:
        del group, memory
        self.files[path] = mode

    def _host_path(self, path: str, type: str) -> None:  # noqa: A002 - the request's own word
        if type:
            raise NodeError(f"hostPath type check failed: {path} is not a directory", 22)

    def _sub_path(self, volume: str, name: str, place: str) -> None:
        self.files[place] = (volume, name)

    def _remove_tree(self, path: str) -> Answer:
        for name in [name for name in self.files if name.startswith(path)]:
            del self.files[name]
        return {"status": 0}

    def _remove_files(self, folder: str, prefix: str) -> None:
        """Logs are the real supervisor's."""

    def _remove_group(self, group: str) -> None:
        """So are control groups."""

    def _tell(self, kind: str, record: Record) -> None:
        for listener in self._listeners:
            listener({"event": kind, "record": record})

    def _now(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def _program(stdout: str) -> Record:
    return {"code": 0, "signal": 0, "stdout": stdout, "stderr": "", "timed_out": False}
