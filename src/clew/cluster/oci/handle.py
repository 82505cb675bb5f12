"""The daemon's handle on a node: starts or adopts its supervisor, and asks it for everything."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clew.base.errors import WorldError
from clew.cluster.oci import cgroups
from clew.cluster.paths import LabPaths

_STARTING = 10.0  # seconds
_LINE = 64 << 20


class NodeError(WorldError):
    """The supervisor refused or is not there."""


class NodeHandle:
    """One node, powered on."""

    def __init__(self, paths: LabPaths, node: str) -> None:
        self.paths = paths
        self.node = node
        self.pid = 0

    @property
    def cgroup(self) -> str:
        return f"clew/{self.paths.name}/{self.node}"

    @property
    def socket(self) -> Path:
        return self.paths.node_socket(self.node)

    @classmethod
    async def start(cls, paths: LabPaths, node: str, files: Mapping[str, str]) -> "NodeHandle":
        """Adopt the living supervisor, or clear what a dead one left and start a fresh one.

        `files` are texts for the node's /etc: resolv.conf, hostname, hosts.
        """
        handle = cls(paths, node)
        if await handle.alive():
            return handle
        await asyncio.to_thread(handle._clear)
        await handle._launch(dict(files))
        return handle

    async def alive(self) -> bool:
        try:
            self.pid = (await self.ask("ping"))["pid"]
        except (NodeError, OSError):
            return False
        return True

    def _clear(self) -> None:
        """Power off what a dead supervisor left running."""
        cgroups.kill_all(self.cgroup)
        cgroups.remove_all(self.cgroup)
        shutil.rmtree(self.paths.node_run(self.node), ignore_errors=True)

    async def _launch(self, files: dict[str, str]) -> None:
        run = self.paths.node_run(self.node)
        run.mkdir(parents=True, exist_ok=True)
        self.paths.log.mkdir(parents=True, exist_ok=True)
        tree = self.paths.node_tree(self.node)
        tree.mkdir(parents=True, exist_ok=True)
        options = {
            "node": self.node, "netns": str(self.paths.netns(self.node)), "tree": str(tree), "run": str(run),
            "socket": str(self.socket), "cgroup": self.cgroup, "files": files,
            "keep": [str(self.paths.run), str(self.paths.state)],
        }  # fmt: skip
        with (self.paths.log / f"{self.node}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "clew.cluster.oci.supervisor", json.dumps(options),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )  # fmt: skip
        self.pid = process.pid
        deadline = asyncio.get_running_loop().time() + _STARTING
        while not self.socket.exists():
            if process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                raise NodeError(f"the supervisor of {self.node} did not start; see {self.paths.log}/{self.node}.log")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Power off: nothing of the node is left but its disk."""
        await asyncio.to_thread(power_off, self.paths, self.node)

    # Requests.

    async def ask(self, do: str, **request: Any) -> Any:
        """One request on a connection of its own; NodeError with the supervisor's words."""
        reader, writer = await self._open({"do": do, **request})
        try:
            answer = json.loads(await reader.readline() or b'{"ok": false, "error": "the supervisor went away"}')
        finally:
            writer.close()
        if not answer["ok"]:
            raise NodeError(answer["error"])
        return answer.get("result")

    async def stream(self, do: str, **request: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A request that turns its connection into a stream."""
        reader, writer = await self._open({"do": do, **request})
        answer = json.loads(await reader.readline() or b'{"ok": false, "error": "the supervisor went away"}')
        if not answer["ok"]:
            writer.close()
            raise NodeError(answer["error"])
        return reader, writer

    async def _open(self, request: Mapping[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket, limit=_LINE)
        except OSError as error:
            raise NodeError(f"the supervisor of {self.node} is not there: {error.strerror}") from error
        writer.write(json.dumps(request).encode() + b"\n")
        return reader, writer

    async def exits(self) -> AsyncIterator[dict[str, Any]]:
        """The records of containers as they end, until the supervisor goes."""
        reader, writer = await self.stream("events")
        try:
            while line := await reader.readline():
                yield json.loads(line)
        finally:
            writer.close()

    async def program(
        self, argv: list[str], stdin: str = "", env: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Run a program of the node to its end, a minute at the most: code, stdout, stderr."""
        done = await self.ask("program", argv=argv, stdin=stdin, env=dict(env or {}))
        return done["code"], done["out"], done["err"]


def power_off(paths: LabPaths, node: str) -> None:
    """Kill the node's processes and its supervisor, and remove its groups and run folder. Blocking, idempotent."""
    prefix = f"clew/{paths.name}/{node}"
    pid = supervisor_pid(paths, node)
    cgroups.kill_all(prefix)
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cgroups.kill_all(prefix)
    cgroups.remove_all(prefix)
    shutil.rmtree(paths.node_run(node), ignore_errors=True)


def supervisor_pid(paths: LabPaths, node: str) -> int:
    """The living supervisor's process id, 0 where there is none; a reused id is not taken for it."""
    try:
        pid = int((paths.node_run(node) / "supervisor.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return pid if b"clew.cluster.oci.supervisor" in command else 0
