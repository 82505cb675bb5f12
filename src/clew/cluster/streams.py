"""What the API server asks of a node for exec, attach, log and port-forward; the kubelets implement it."""

from collections.abc import AsyncIterator
from typing import Protocol

from clew.base.value import Value


class PodRef(Value):
    """A container of a pod on a node; container may be empty for port-forward."""

    node: str
    namespace: str
    pod: str
    uid: str
    container: str = ""


class ExecRequest(Value):
    command: tuple[str, ...]  # empty for attach
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


class LogRequest(Value):
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since_seconds: int | None = None
    since_time: str = ""


class StreamError(Exception):
    """The node cannot do it; status is the HTTP code, message is for the user (`container not found ("x")`)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Session(Protocol):
    """A process with streams; one a kubectl exec or attach."""

    async def write(self, data: bytes) -> None:
        """To standard input; waits for room."""
        ...

    async def end_input(self) -> None: ...

    async def resize(self, columns: int, rows: int) -> None: ...

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1 for stdout, 2 for stderr; data), until both are closed. A tty has only 1."""
        ...

    async def wait(self) -> int:
        """The exit code, 128 + n for signal n; for attach, when the container ends."""
        ...

    async def close(self) -> None: ...


class Duplex(Protocol):
    """A TCP connection into the pod's network namespace."""

    async def read(self) -> bytes:
        """Some bytes; empty at the end."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def end(self) -> None:
        """No more from our side."""
        ...

    async def close(self) -> None: ...


class NodeStreams(Protocol):
    """All nodes' streams; raises StreamError."""

    async def run(self, pod: PodRef, request: ExecRequest) -> Session: ...

    async def attach(self, pod: PodRef, request: ExecRequest) -> Session: ...

    async def logs(self, pod: PodRef, request: LogRequest) -> AsyncIterator[bytes]: ...

    async def connect(self, pod: PodRef, port: int) -> Duplex: ...

    async def reach(self, address: str, port: int) -> Duplex:
        """What is no pod of ours, from the network of some node."""
        ...
