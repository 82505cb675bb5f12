"""Sandboxes: a pod's network namespace, pinned, and the pause process that holds its other namespaces.

The pause process is started here and not by runc: it is our own program of 250 bytes without a right in the world, and
runc would cost it twenty-five milliseconds. It stands in a root folder with nothing but itself.
"""

import fcntl
import os
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from clew.cluster.runtime.supervisor import cgroups
from clew.cluster.runtime.supervisor.logs import stamp
from clew.cluster.runtime.supervisor.loop import READ, Loop
from clew.cluster.runtime.supervisor.records import Record, Records
from clew.cluster.runtime.supervisor.spawn import exit_code
from clew.kernel import mounts, process

NETNS = Path("/run/netns")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_UNPRIVILEGED = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


class Sandboxes:
    """`gone(record)` is told when a pause process ends that nobody stopped."""

    def __init__(self, loop: Loop, records: Records, pause: Path, gone: Callable[[Record], None]) -> None:
        self._loop = loop
        self._records = records
        self._pause = pause
        self._gone = gone
        self.all: dict[str, Record] = records.load()
        for record in self.all.values():
            record |= {"state": "lost" if record["state"] != "stopped" else "stopped", "pid": 0}

    def create(
        self, identity: str, labels: dict[str, str], notes: dict[str, object], *, network: bool, sysctls: dict[str, str]
    ) -> Record:
        """The sandbox's network namespace with lo up, or the node's own; no process yet."""
        netns = ""
        if network:
            netns = str(NETNS / f"cni-{identity}")
            self._make_netns(netns, sysctls)
        record: Record = {
            "id": identity, "labels": labels, "netns": netns, "pid": 0, "state": "created",
            "created": stamp().decode(), "sysctls": sysctls, "notes": notes,
        }  # fmt: skip
        self.all[identity] = record
        self._records.save(identity, record)
        return record

    def start(
        self, identity: str, *, hostname: str, own_ipc: bool, score: int, done: Callable[[Record, str], None]
    ) -> None:
        """Start the pause process; `hostname` empty keeps the node's. Containers join its namespaces.

        `done(record, problem)` is called when it stands, or cannot. It stays in the supervisor's control group: to
        move it costs more than all the rest, and it uses nothing.
        """
        record = self.all[identity]
        kinds = (process.NEWIPC if own_ipc else 0) | (process.NEWUTS if hostname else 0) | process.NEWPID
        network = os.open(record["netns"], os.O_RDONLY | os.O_CLOEXEC) if record["netns"] else -1
        report, told = os.pipe()
        with process.elsewhere(kinds | (process.NEWNET if network >= 0 else 0)):
            if network >= 0:
                process.setns(network, process.NEWNET)
                os.close(network)
            process.unshare(kinds)
            if hostname:
                socket.sethostname(hostname)
            _set(record["sysctls"], "kernel.shm")  # the rest of kernel. is the machine's
            pid = os.fork()
            if not pid:
                self._become_pause(told, score)
        os.close(told)
        self._loop.watch(report, READ, lambda _: self._reported(record, pid, report, done))

    def _reported(self, record: Record, pid: int, report: int, done: Callable[[Record, str], None]) -> None:
        """The pause program closes the pipe by beginning; before that, it says what went wrong and ends."""
        problem = os.read(report, 4096).decode(errors="replace")
        self._loop.forget(report)
        os.close(report)
        if problem or record["state"] != "created":
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._loop.on_exit(pid, lambda _: None)
            done(record, f"start the pause process: {problem or 'the sandbox is being removed'}")
            return
        record |= {"pid": pid, "state": "ready", "started": stamp().decode()}  # a record is read after a power cut only
        self._loop.on_exit(pid, lambda status: self._ended(record["id"], status))
        done(record, "")

    def note(self, identity: str, notes: dict[str, object]) -> None:
        """Keep something of the kubelet's beside the sandbox, such as what CNI answered."""
        record = self.all[identity]
        record["notes"] |= notes
        self._records.save(identity, record)

    def stop(self, identity: str) -> None:
        """End the pause process; the network namespace stays for CNI to clean up."""
        record = self.all.get(identity)
        if record is None or record["state"] == "stopped":
            return
        pid, record["pid"], record["state"] = record["pid"], 0, "stopped"
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._records.save(identity, record)

    def remove(self, identity: str) -> None:
        """Let go of the network namespace and forget the sandbox."""
        self.stop(identity)
        record = self.all.pop(identity, None)
        if record is None:
            return
        if record["netns"]:
            with suppress(OSError):
                mounts.unmount(record["netns"])
            Path(record["netns"]).unlink(missing_ok=True)
        if left := self._records.drop(identity):
            with suppress(OSError):
                left.rmdir()

    def remove_group(self, group: str) -> None:
        """Now, or as soon as the kernel lets go of what ended in it."""
        self._loop.again_and_again(lambda: not cgroups.remove(group))

    def _ended(self, identity: str, status: int) -> None:
        record = self.all.get(identity)
        if record is None or record["state"] == "stopped":
            return
        record |= {"state": "lost", "pid": 0, "code": exit_code(status)[0]}
        self._records.save(identity, record)
        self._gone(record)

    @staticmethod
    def _make_netns(path: str, sysctls: dict[str, str]) -> None:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        try:
            with process.elsewhere(process.NEWNET):
                process.unshare(process.NEWNET)
                mounts.bind("/proc/self/ns/net", path)
                _loopback_up()
                _set(_UNPRIVILEGED, "net.")
                _set(sysctls, "net.")
        except BaseException:
            with suppress(OSError):
                mounts.unmount(path)
            Path(path).unlink(missing_ok=True)
            raise

    def _become_pause(self, told: int, score: int) -> None:
        """In the child: a root with nothing in it, no rights, no way back."""
        try:
            os.setsid()
            process.unshare(process.NEWNS)
            mounts.propagation("/", mounts.PRIVATE)
            with suppress(OSError):  # lowering it takes a right that a container's root may lack
                Path("/proc/self/oom_score_adj").write_text(str(score), encoding="ascii")
            process.drop_bounding()  # reads /proc, which the new root has not
            null = os.open("/dev/null", os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            os.set_inheritable(told, False)
            root = str(self._pause.parent)
            mounts.bind(root, root, read_only=True)
            mounts.pivot_root(root)
            _forget_signals()
            os.setgroups([])
            os.setresgid(65535, 65535, 65535)
            os.setresuid(65535, 65535, 65535)
            process.no_new_rights()
            os.execve("/pause", ["/pause"], {})  # noqa: S606 - our own program, by its path
        except BaseException as problem:  # noqa: BLE001 - the parent is told, whatever it is
            os.write(told, str(problem).encode())
        finally:
            os._exit(127)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(probe, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _set(sysctls: dict[str, str], *prefixes: str) -> None:
    """Those of the settings that belong to the namespace we are in."""
    for name, value in sysctls.items():
        if name.startswith(prefixes):
            Path("/proc/sys", name.replace(".", "/")).write_text(value, encoding="ascii")


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
