"""Container logs in the CRI format: `TIME stdout|stderr F|P TEXT`, one file a container instance, rotated by size."""

import os
from datetime import UTC, datetime
from pathlib import Path

_LONGEST = 16 << 10  # bytes of a line before it is split into partial ones
_ROTATE = 10 << 20  # bytes of a file before it is set aside


def _now() -> bytes:
    moment = datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f").encode() + b"000Z"


class ContainerLog:
    """One container's log file; what is written is in the kernel's hands when `write` returns."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._rest = {"stdout": b"", "stderr": b""}
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes) -> None:
        lines = (self._rest[stream] + data).split(b"\n")
        rest = lines.pop()
        stamp = _now()
        head = stamp + b" " + stream.encode()
        out = [head + b" F " + line + b"\n" for line in lines]
        while len(rest) > _LONGEST:
            out.append(head + b" P " + rest[:_LONGEST] + b"\n")
            rest = rest[_LONGEST:]
        self._rest[stream] = rest
        self._append(b"".join(out))

    def finish(self) -> None:
        """What was written without a final newline, too."""
        for stream, rest in self._rest.items():
            if rest:
                self._append(_now() + b" " + stream.encode() + b" F " + rest + b"\n")
        os.close(self._fd)

    def _append(self, data: bytes) -> None:
        if not data:
            return
        os.write(self._fd, data)
        self._size += len(data)
        if self._size > _ROTATE:
            os.close(self._fd)
            self.path.replace(self.path.with_suffix(self.path.suffix + ".1"))
            self._open()
