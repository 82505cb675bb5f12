"""The SQLite file: a log of every revision, as kine keeps it, and the current revision of each key.

One thread uses it at a time. A batch is one transaction; when `append` returns it is on the disk (WAL,
synchronous=FULL). Compaction drops what newer revisions have replaced, so the file is bounded by the current
objects and the history that watches may ask for.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from clew.base.errors import WorldError

SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
  revision INTEGER PRIMARY KEY, resource TEXT NOT NULL, key TEXT NOT NULL,
  previous INTEGER NOT NULL, deleted INTEGER NOT NULL, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS current (
  resource TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (resource, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('format', 1), ('compacted', 0), ('revision', 1);
"""
FORMAT = 1


class Row(NamedTuple):
    """A line of the log; previous is 0 for a creation."""

    revision: int
    resource: str
    key: str
    previous: int
    deleted: bool
    value: bytes


class Database:
    """The file at `path`, created when missing. Raises WorldError naming the file for every failure of the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._failures():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
            self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA journal_size_limit=8388608")
            self._db.executescript(SCHEMA)
            found = self._meta("format")
        if found != FORMAT:
            raise WorldError(f"{path} has format {found}, this version of Clew reads {FORMAT}; remove the lab first")

    def _meta(self, name: str) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return int(row[0])

    @property
    def compacted(self) -> int:
        """The revision up to which history is gone."""
        return self._meta("compacted")

    @property
    def revision(self) -> int:
        """The newest revision on the disk."""
        (newest,) = self._db.execute("SELECT max(revision) FROM log").fetchone()
        return max(newest or 0, self._meta("revision"))

    def rows(self) -> Iterator[Row]:
        """The whole log in order: current objects, and the history since the compaction."""
        for revision, resource, key, previous, deleted, value in self._db.execute(
            "SELECT revision, resource, key, previous, deleted, value FROM log ORDER BY revision"
        ):
            yield Row(revision, resource, key, previous, bool(deleted), value)

    def append(self, rows: Sequence[Row]) -> None:
        """All rows or none, durable on return."""
        gone = [(row.resource, row.key) for row in rows if row.deleted]
        with self._transaction():
            self._db.executemany("INSERT INTO log VALUES (?,?,?,?,?,?)", rows)
            self._db.executemany(
                "INSERT OR REPLACE INTO current VALUES (?,?,?)", [(row.resource, row.key, row.revision) for row in rows]
            )
            if gone:
                # A key may be deleted and made again within one batch: only a tombstone that is the last word counts.
                self._db.executemany(
                    "DELETE FROM current WHERE resource=? AND key=?"
                    " AND (SELECT deleted FROM log WHERE log.revision=current.revision)",
                    gone,
                )

    def compact(self, floor: int) -> None:
        """Forget what revisions up to `floor` replaced or deleted; gives free pages back to the disk."""
        since = self.compacted
        with self._transaction():
            self._db.execute(
                "DELETE FROM log WHERE revision IN"
                " (SELECT previous FROM log WHERE revision>? AND revision<=? AND previous>0)",
                (since, floor),
            )
            self._db.execute("DELETE FROM log WHERE revision>? AND revision<=? AND deleted=1", (since, floor))
            self._db.execute("UPDATE meta SET value=? WHERE name='compacted'", (floor,))
            self._db.execute("UPDATE meta SET value=max(value, ?) WHERE name='revision'", (self.revision,))
        with self._failures():
            self._db.execute("PRAGMA incremental_vacuum(2000)").fetchall()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._failures():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "full" in str(error):
                raise WorldError(f"cannot write {self.path}: the disk is full; free some space and retry") from error
            raise WorldError(f"cannot use {self.path}: {error}") from error
