"""Several processes behind one address: the kernel deals questions out to them (SO_REUSEPORT), one of them leads.

The leader is a server like the others. It starts them, serves the pages for all, and ends when one of them does, so
that whoever watches it starts all anew. The others tell it once a second what they counted and what they wait for.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence

from clew.base.errors import WorldError

_PACE = 1.0  # seconds between two reports
_LARGEST = 1 << 24  # bytes of a report
_NOT_SUMS = ("_info", "_enabled", "_start_time_seconds")  # what each process says alike


def merged(texts: Iterable[str]) -> str:
    """Metrics of several processes as those of one: numbers of one series are added."""
    heads: dict[str, list[str]] = {}  # what precedes a family's samples
    families: dict[str, dict[str, float]] = {}
    for text in texts:
        family = ""
        for line in text.splitlines():
            if line.startswith("#"):
                family = line.split(" ", 3)[2]
                head = heads.setdefault(family, [])
                if line not in head:
                    head.append(line)
                continue
            series, _, number = line.rpartition(" ")
            found = families.setdefault(family, {})
            if family.endswith(_NOT_SUMS):
                found[series] = max(found.get(series, 0.0), float(number))
            else:
                found[series] = found.get(series, 0.0) + float(number)
    lines: list[str] = []
    for family, head in heads.items():
        lines += head
        lines += [f"{series} {_number(value)}" for series, value in families.get(family, {}).items()]
    return "".join(f"{line}\n" for line in lines)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


class Workers:
    """The leader's view of the others."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._metrics: dict[int, str] = {}
        self._ready: dict[int, bool] = {}

    @property
    def ready(self) -> bool:
        return len(self._ready) == self._count and all(self._ready.values())

    def metrics(self, own: str) -> str:
        """All that was counted, the others' up to a second ago."""
        return merged((own, *self._metrics.values())) if self._metrics else own

    async def run(self, arguments: Sequence[str]) -> None:
        """Start them with these arguments of `clew dns`, and listen for ever; WorldError when one has ended."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._one(number, arguments))

    async def _one(self, number: int, arguments: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            program = (sys.executable, "-c", "from clew.cli.main import main; main()")
            process = await asyncio.create_subprocess_exec(
                *program, "dns", *arguments, "--leader", str(theirs.fileno()), pass_fds=(theirs.fileno(),)
            )
        reader, writer = await asyncio.open_connection(sock=ours, limit=_LARGEST)
        try:
            while line := await reader.readline():
                report = json.loads(line)
                self._metrics[number], self._ready[number] = report["metrics"], report["ready"]
            raise WorldError(f"worker {number + 1} has ended")
        finally:
            writer.close()
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def follow(leader: int, metrics: Callable[[], str], ready: Callable[[], bool]) -> None:
    """A worker's side: reports to the leader's descriptor, for ever; returns when the leader is gone."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=os.dup(leader)))
    os.close(leader)
    gone = asyncio.ensure_future(reader.read())
    try:
        while not gone.done():
            report = json.dumps({"metrics": metrics(), "ready": ready()})
            writer.write(report.encode() + b"\n")
            await writer.drain()
            await asyncio.wait({gone}, timeout=_PACE)
    except ConnectionError:
        pass
    finally:
        gone.cancel()
        writer.close()
