"""Asking a lab's daemon: one line of JSON each way over a Unix socket that only root may open.

    {"op": "stop", "node": "node-2"}  →  {"result": …} or {"error": "…", "remedy": "…"}

The daemon serves; commands ask. Not the cluster's API: what is asked here is beneath a node, its power and the
daemon's own parts.
"""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from clew.app.lab_state import daemon_pid
from clew.base.errors import UserError, WorldError
from clew.cluster.paths import LabPaths
from clew.kernel import private_socket

Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]
_PATIENCE = 30.0  # seconds; a node takes a few to switch on


def path_of(paths: LabPaths) -> Path:
    return paths.run / "daemon.sock"


async def serve(paths: LabPaths, handle: Handler, opened: Callable[[], None] = lambda: None) -> None:
    """Answer until cancelled; `opened` is called when asking is possible.

    A refusal (UserError, WorldError) is the asker's; anything else is ours and logged.
    """
    path = path_of(paths)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer: dict[str, Any]
            try:
                answer = {"result": await handle(json.loads(await reader.readline()))}
            except UserError as error:
                answer = {"error": error.message, "remedy": error.remedy}
            except (WorldError, OSError, ValueError, KeyError) as error:
                answer = {"error": str(error), "remedy": f"see {paths.log}/daemon.log"}
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
        except ConnectionError:
            pass  # the asker has gone
        finally:
            writer.close()

    server = await asyncio.start_unix_server(connected, sock=private_socket.listen(path))
    try:
        async with server:
            opened()
            await server.serve_forever()
    finally:
        path.unlink(missing_ok=True)


def ask(paths: LabPaths, op: str, patience: float = _PATIENCE, **arguments: Any) -> Any:
    """The daemon's answer. UserError: its refusal, or that it does not answer and what to do about it. Blocking."""
    pid = daemon_pid(paths)
    if not pid:
        raise UserError(f"lab {paths.name} is not running", f"try: clew up --name {paths.name}")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(patience)
            sock.connect(str(path_of(paths)))
            sock.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
            said = sock.makefile("rb").readline()
        answer = json.loads(said)
    except (OSError, ValueError):
        remedy = f"end it, then resume the lab: kill -9 {pid}; clew up --name {paths.name}"
        raise UserError(f"the daemon of lab {paths.name} (process {pid}) does not answer", remedy) from None
    if "error" in answer:
        raise UserError(answer["error"], answer["remedy"])
    return answer["result"]
