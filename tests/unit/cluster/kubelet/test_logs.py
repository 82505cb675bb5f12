"""What a container wrote comes back as it was, from the format of the Container Runtime Interface."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.cluster.kubelet.logs import LogReader
from clew.cluster.runtime.supervisor.logs import LONGEST, LogFile, rotated
from clew.cluster.streams import LogRequest

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        del seconds
        self.looks += 1
        await asyncio.sleep(0)


async def read(path: Path, alive: Any = lambda: False, clock: Any = None, **request: Any) -> bytes:
    reader = LogReader(path, LogRequest(**request), clock or Clock(), alive)
    return b"".join([piece async for piece in reader.read()])


def write(path: Path, *lines: tuple[int, str, str]) -> None:
    """A log of (seconds before now, tag, text)."""
    made = []
    for ago, tag, text in lines:
        made.append(f"{(NOW - timedelta(seconds=ago)).strftime('%Y-%m-%dT%H:%M:%S.000000007Z')} stdout {tag} {text}\n")
    path.write_text("".join(made))


ALL = [(30, "F", "one"), (20, "P", "tw"), (20, "F", "o"), (10, "F", ""), (5, "F", "four words in it")]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({}, "one\ntwo\n\nfour words in it\n"), ({"tail_lines": 0}, ""), ({"tail_lines": 1}, "four words in it\n"),
        ({"tail_lines": 3}, "two\n\nfour words in it\n"), ({"tail_lines": 99}, "one\ntwo\n\nfour words in it\n"),
        ({"since_seconds": 20}, "two\n\nfour words in it\n"), ({"since_seconds": 1}, ""),
        ({"since_time": "2026-01-02T11:59:50Z"}, "\nfour words in it\n"), ({"limit_bytes": 6}, "one\ntw"),
        ({"since_seconds": 20, "tail_lines": 1, "limit_bytes": 4}, "four"),
    ],
)  # fmt: skip
async def test_requests(tmp_path: Path, request_: dict[str, Any], text: str) -> None:
    write(tmp_path / "0.log", *ALL)
    assert (await read(tmp_path / "0.log", **request_)).decode() == text


async def test_times_are_shown_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "0.log", (5, "F", "x"))
    assert await read(tmp_path / "0.log", timestamps=True) == b"2026-01-02T11:59:55.000000007Z x\n"


async def test_rotated_files_are_read_before_the_current_one(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "0.log"), max_size=200, max_files=3)
    for number in range(40):
        log.write(b"stdout", b"line %d\n" % number)
    log.close()
    kept = rotated(tmp_path / "0.log")
    assert len(kept) == 2  # and the one being written
    numbers = [int(line.split()[1]) for line in (await read(tmp_path / "0.log")).splitlines()]
    assert numbers == list(range(numbers[0], 40))
    assert len(numbers) >= 8
    assert await read(tmp_path / "0.log", tail_lines=7) == b"".join(b"line %d\n" % number for number in range(33, 40))


@pytest.mark.parametrize("burst", [1, 17])
async def test_a_follower_goes_over_rotation_and_ends_with_the_container(tmp_path: Path, burst: int) -> None:
    """Also where a burst fills more than one file between two of its looks."""
    path = tmp_path / "0.log"
    log = LogFile(str(path), max_size=300, max_files=100)
    wrote = 0

    def alive() -> bool:
        nonlocal wrote
        for _ in range(burst if wrote < 100 else 0):
            log.write(b"stdout", b"%d\n" % wrote)
            wrote += 1
        return wrote < 100

    text = await read(path, alive, follow=True)
    assert [int(line) for line in text.split()] == list(range(wrote))
    assert rotated(path)


@pytest.mark.parametrize("follow", [False, True])
async def test_a_long_log_leaves_the_loop_to_others(tmp_path: Path, *, follow: bool) -> None:
    path, turns = tmp_path / "0.log", 0

    def alive() -> bool:
        if follow and not path.stat().st_size:
            write(path, *[(5, "F", "x" * 100)] * 20_000)
            return True
        return False

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    write(path, *([] if follow else [(5, "F", "x" * 100)] * 20_000))
    other = asyncio.create_task(others())
    text = await read(path, alive, follow=follow)
    other.cancel()
    assert len(text) == 20_000 * 101
    assert turns >= len(text) // (64 << 10)


async def test_a_line_that_is_not_whole_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    log = LogFile(str(path))
    log.write(b"stdout", b"half")
    assert await read(path) == b""
    log.write(b"stdout", b" and half\nrest")
    log.end(b"stdout")
    assert await read(path) == b"half and half\nrest\n"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([b"stdout", b"stderr"]), st.binary(max_size=40))), st.integers(0, 3))
def test_every_byte_of_every_stream_comes_back(pieces: Any, long: int) -> None:
    wrote = {b"stdout": b"", b"stderr": b""}
    with TemporaryDirectory() as folder:
        path = Path(folder, "0.log")
        log = LogFile(str(path))
        for stream, data in [*pieces, (b"stdout", b"x" * (LONGEST * long))]:
            log.write(stream, data)
            wrote[stream] += data
        log.close()
        lines = path.read_bytes().split(b"\n")[:-1]
    found = {b"stdout": b"", b"stderr": b""}
    for line in lines:
        _, stream, tag, text = line.split(b" ", 3)
        found[stream] += text + (b"\n" if tag == b"F" else b"")
    for stream, data in wrote.items():
        assert found[stream].removesuffix(b"\n") == data.removesuffix(b"\n")
