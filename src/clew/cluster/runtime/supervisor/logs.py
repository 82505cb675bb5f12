"""A container's log in the format of the Container Runtime Interface, rotated by size.

`2026-01-02T03:04:05.000000006Z stdout F text`: time, stream, F for a whole line or P for a part of one, the text.
Nothing is kept back once a line is complete; an unfinished line waits for its end, for 16 KiB, or for the stream's.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

LONGEST = 16 << 10  # bytes of a line before it is cut, as containerd has it
MAX_SIZE = 10 << 20
MAX_FILES = 5


def stamp() -> bytes:
    """Now, in nanoseconds, as RFC 3339 writes it."""
    now = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)).encode() + b".%09dZ" % (now % 10**9)


class LogFile:
    """Appends to `path`; full files become `path.20260102-030405-NNNNNNNNN`, of which the newest few are kept."""

    def __init__(self, path: str, max_size: int = MAX_SIZE, max_files: int = MAX_FILES) -> None:
        self._path = path
        self._max_size = max_size
        self._max_files = max_files
        self._unfinished: dict[bytes, bytes] = {}
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._fd, self._size = self._open()

    def write(self, stream: bytes, data: bytes) -> None:
        """Output as it came; `stream` is b"stdout" or b"stderr"."""
        *lines, rest = (self._unfinished.pop(stream, b"") + data).split(b"\n")
        head = stamp() + b" " + stream
        out = []
        for line in lines:
            while len(line) > LONGEST:
                out.append(b"%b P %b\n" % (head, line[:LONGEST]))
                line = line[LONGEST:]  # noqa: PLW2901 - the line, less what is written
            out.append(b"%b F %b\n" % (head, line))
        while len(rest) >= LONGEST:
            out.append(b"%b P %b\n" % (head, rest[:LONGEST]))
            rest = rest[LONGEST:]
        if rest:
            self._unfinished[stream] = rest
        self._append(b"".join(out))

    def end(self, stream: bytes) -> None:
        """The stream is at its end: what it left unfinished is its last line."""
        rest = self._unfinished.pop(stream, b"")
        if rest:
            self._append(b"%b %b F %b\n" % (stamp(), stream, rest))

    def close(self) -> None:
        for stream in list(self._unfinished):
            self.end(stream)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, data: bytes) -> None:
        if not data or self._fd < 0:
            return
        with suppress(OSError):  # a full disk loses log lines, not containers
            os.write(self._fd, data)
            self._size += len(data)
        if self._size >= self._max_size:
            self._rotate()

    def _open(self) -> tuple[int, int]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path, flags, 0o640)
        return fd, os.fstat(fd).st_size

    def _rotate(self) -> None:
        os.close(self._fd)
        now = time.time_ns()
        suffix = (
            f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now // 10**9))}-{now % 10**9:09d}"  # never the same twice
        )
        with suppress(OSError):
            Path(self._path).rename(f"{self._path}.{suffix}")
        for old in rotated(Path(self._path))[: -(self._max_files - 1) or None]:
            old.unlink(missing_ok=True)
        self._fd, self._size = self._open()


def rotated(path: Path) -> list[Path]:
    """The full files that precede `path`, oldest first."""
    return sorted(path.parent.glob(f"{path.name}.*"))
