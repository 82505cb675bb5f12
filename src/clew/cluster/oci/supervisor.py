"""A node's supervisor: the process that is the node's kernel-side self. Standard library only; survives the daemon.

Started as `python -m clew.cluster.oci.supervisor JSON` by the daemon's handle. It becomes the node (namespaces,
mounts), then answers requests on a Unix socket: one JSON line each, a JSON line back, and for streams what follows.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clew.cluster.oci import machine, sessions, syscalls
from clew.cluster.oci.containers import Containers, Record
from clew.kernel import netns

if TYPE_CHECKING:
    from collections.abc import Callable

Request = dict[str, Any]
_LONGEST = 16 << 20  # bytes of a request


class Supervisor:
    def __init__(self, options: Request) -> None:
        self.options = options
        self.containers = Containers(Path(options["run"]), options["cgroup"])
        self.containers.changed = self._tell
        self._listeners: list[socket.socket] = []
        self._lock = threading.Lock()
        self._actions: dict[str, Callable[[Request], Any]] = {
            "ping": lambda _: {"pid": os.getpid()},
            "list": lambda _: self.containers.listing(),
            "run": self.containers.run,
            "signal": lambda request: self.containers.signal(request["id"], request["signal"]),
            "remove": lambda request: self.containers.remove(request["id"]),
            "program": _program,
            "netns": lambda request: _make_netns(request["name"]),
            "drop-netns": lambda request: netns.delete(Path("/run/netns", request["name"])),
            "unmount": lambda request: syscalls.unmount(request["path"]),
            "mount": _mount,
        }

    def serve(self, listener: socket.socket) -> None:
        threading.Thread(target=self.containers.move, daemon=True, name="streams").start()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._client, args=(connection,), daemon=True).start()

    def _client(self, connection: socket.socket) -> None:
        """One connection: requests one after the other, or one that turns it into a stream."""
        file = connection.makefile("rb")
        with suppress(OSError, ValueError):
            while line := file.readline(_LONGEST):
                request = json.loads(line)
                if request["do"] in {"exec", "attach", "connect", "events"}:
                    self._stream(request, connection)
                    return
                connection.sendall(json.dumps(self._answer(request)).encode() + b"\n")
        connection.close()

    def _answer(self, request: Request) -> Record:
        try:
            return {"ok": True, "result": self._actions[request["do"]](request)}
        except Exception as error:  # noqa: BLE001 - told to the daemon, which decides
            if not isinstance(error, (OSError, RuntimeError, KeyError)):
                traceback.print_exc()
            return {"ok": False, "error": str(error) or repr(error), "errno": getattr(error, "errno", None)}

    def _stream(self, request: Request, connection: socket.socket) -> None:
        try:
            if request["do"] == "events":
                with self._lock:
                    self._listeners.append(connection)
                connection.sendall(b'{"ok":true}\n')
            elif request["do"] == "connect":
                sessions.connect(request, connection)
            else:
                self.containers.known[request["id"]]  # KeyError where there is none
                connection.sendall(b'{"ok":true}\n')
                run = sessions.execute if request["do"] == "exec" else sessions.attach
                run(self.containers, request, connection)
        except Exception as error:  # noqa: BLE001 - told to the daemon
            with suppress(OSError):
                connection.sendall(json.dumps({"ok": False, "error": str(error)}).encode() + b"\n")
                connection.close()

    def _tell(self, record: Record) -> None:
        """Every listener learns of an exit; one that is gone is forgotten."""
        line = json.dumps(record).encode() + b"\n"
        with self._lock:
            for listener in tuple(self._listeners):
                try:
                    listener.sendall(line)
                except OSError:
                    self._listeners.remove(listener)


def _program(request: Request) -> Record:
    """Run a program of the node to its end: a CNI plugin, say."""
    done = subprocess.run(
        request["argv"], input=request.get("stdin", "").encode(), capture_output=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **request.get("env", {})},
        timeout=request.get("timeout", 60), check=False,
    )  # fmt: skip
    return {
        "code": done.returncode, "out": done.stdout.decode(errors="replace"),
        "err": done.stderr.decode(errors="replace"),
    }  # fmt: skip


def _make_netns(name: str) -> str:
    """A pinned network namespace with its loopback up; one that is there already is used."""
    path = Path("/run/netns", name)
    if not netns.pinned(path):
        path.unlink(missing_ok=True)
        netns.create(path)
    subprocess.run(["nsenter", f"--net={path}", "ip", "link", "set", "lo", "up"], check=True)
    return str(path)


def _mount(request: Request) -> None:
    Path(request["target"]).mkdir(parents=True, exist_ok=True)
    syscalls.mount(
        request["source"], request["target"], request.get("kind", ""), request.get("flags", 0), request.get("data", "")
    )


def main() -> None:
    options = json.loads(sys.argv[1])
    os.umask(0o022)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    syscalls.be_subreaper()
    path = Path(options["socket"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    machine.become(options["node"], options["netns"], Path(options["tree"]), options["keep"], options["files"])
    (Path(options["run"]) / "containers").mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    listener.bind(str(fresh))
    fresh.chmod(0o600)
    listener.listen(128)
    (Path(options["run"]) / "supervisor.pid").write_text(str(os.getpid()))
    fresh.rename(path)  # who sees the socket can connect
    Supervisor(options).serve(listener)


if __name__ == "__main__":
    main()
