"""What is acknowledged is on the disk: after kill -9 at any moment, and when the disk has no more room."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clew.base.errors import WorldError
from clew.cluster.storage import Storage
from clew.cluster.storage.database import Database

WRITER = """
import asyncio, sys
from pathlib import Path
from clew.cluster.storage import Storage

async def main():
    storage = Storage.open(Path(sys.argv[1]), history=200)
    async def writer(mine):
        for number in range(10**9):
            key = f"{mine}-{number}"
            if number % 5 == 4:  # the one before goes
                print(f"? {mine}-{number - 1}", flush=True)
                await storage.delete("things", f"{mine}-{number - 1}", lambda revision: b"{}")
                print(f"- {mine}-{number - 1}", flush=True)
            record = await storage.put("things", key, lambda revision: b'{"revision":%d}' % revision)
            print(f"+ {key} {record.revision}", flush=True)
    await asyncio.gather(*(writer(mine) for mine in range(20)))

asyncio.run(main())
"""


def killed_writer(path: Path, lines: int) -> tuple[dict[str, int], set[str]]:
    """A process that writes and tells, killed in the midst of it: what it told to be there, and to be gone."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    there: dict[str, int] = {}
    gone: set[str] = set()
    try:
        for count, line in enumerate(child.stdout):
            if count == lines:
                os.kill(child.pid, signal.SIGKILL)  # what is in the pipe was told before
            if not line.endswith("\n"):
                break
            sign, key, *revision = line.split()
            if sign == "+":
                there[key] = int(revision[0])
                gone.discard(key)
            elif sign == "?":  # whether it is still there is not known from here on
                there.pop(key)
            else:
                gone.add(key)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    return there, gone


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    newest = 0
    for _ in range(3):  # each on what the one before left
        there, gone = killed_writer(path, 4000)
        assert len(there) > 1000
        storage = Storage.open(path)
        items = storage.collection("things").items
        assert [key for key, revision in there.items() if key not in items or items[key].revision < revision] == []
        assert [key for key in gone if key in items and items[key].revision <= newest] == []
        for key, record in items.items():
            assert json.loads(record.raw)["revision"] == record.revision, f"{key} is half there"
        assert storage.revision >= max(there.values()) > newest
        newest = storage.revision
        asyncio.run(storage.close())


async def test_a_full_disk_fails_the_write_and_nothing_is_half_stored(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path / "state.db")
    database: Any = storage._database
    await storage.put("things", "first", lambda _: b'{"a":1}')
    database._db.execute("PRAGMA max_page_count=1").fetchall()  # as large as it is, and no larger
    results = await asyncio.gather(
        *(storage.put("things", f"k{number}", lambda _: b"x" * 5000) for number in range(50)), return_exceptions=True
    )
    assert {type(result) for result in results} == {WorldError}
    assert str(results[0]) == f"cannot write {tmp_path / 'state.db'}: the disk is full; free some space and retry"
    things = storage.collection("things")
    assert (list(things.items), things.end, storage.latest("things", "k0")) == (["first"], 1, None)
    database._db.execute("PRAGMA max_page_count=100000").fetchall()
    record = await storage.put("things", "second", lambda _: b'{"a":2}')
    await storage.close()
    again = Storage.open(tmp_path / "state.db")
    assert sorted(again.collection("things").items) == ["first", "second"]
    assert again.revision == record.revision
    await again.close()


async def test_what_was_decided_on_a_failed_write_fails_with_it(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path / "state.db")
    database: Any = storage._database
    database._db.execute("PRAGMA max_page_count=1").fetchall()
    first = asyncio.ensure_future(storage.put("things", "a", lambda _: b"x" * 9000))
    await asyncio.sleep(0)
    pending = storage.latest("things", "a")
    assert pending is not None  # two writers never both create
    second = asyncio.ensure_future(storage.put("things", "a", lambda _: b"y"))
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [WorldError, WorldError]
    assert storage.latest("things", "a") is None
    await storage.close()


async def test_compaction_bounds_the_file_and_keeps_every_object(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    storage = Storage.open(path, history=100)
    for number in range(30):
        await asyncio.gather(
            *(storage.put("things", f"k{at % 40}", lambda revision: b"%d" % revision) for at in range(200))
        )
        await storage.put("things", f"gone{number}", lambda _: b"x")
        await storage.delete("things", f"gone{number}", lambda _: b"x")
    expected = {key: record.raw for key, record in storage.collection("things").items.items()}
    await storage.close()
    again = Storage.open(path)
    assert {key: record.raw for key, record in again.collection("things").items.items()} == expected
    assert len(expected) == 40
    rows = sqlite3.connect(path).execute("SELECT count(*) FROM log").fetchone()[0]
    assert rows < 3000  # of 6,060 written
    await again.close()


def test_a_file_of_another_format_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    Database(path).close()
    db = sqlite3.connect(path)
    db.execute("UPDATE meta SET value=99 WHERE name='format'")
    db.commit()
    db.close()
    with pytest.raises(WorldError, match="has format 99, this version of Clew reads 1"):
        Database(path)
    path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(WorldError, match="cannot use"):
        Database(path)
