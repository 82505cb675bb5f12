"""The attachments of a node on disk: what was promised to a runtime survives the agent, whatever ends it.

An append-only log of one JSON record a line, each with a checksum; a torn last line is cut off, a broken one before it
is an error, since no crash makes one. Appends are on disk when `append` returns; those that wait at the same time share
one fsync. The log is written anew when most of it is history. One agent a journal: a lock on the file says so.

Blocking but for `append`. Called by node/attachments.py only.
"""

import asyncio
import fcntl
import logging
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from clew.base.errors import UserError, WorldError
from clew.base.value import Value
from clew.facts.attachment import Attachment
from clew.kernel import files

logger = logging.getLogger(__name__)

SLACK = 1000  # records of history that a log may hold beside twice what is alive


class Record(Value):
    """`put` an attachment, `drop` one by its key, or note what each pool gave `last`, bare addresses."""

    op: Literal["put", "drop", "last"]
    attachment: Attachment | None = None
    key: tuple[str, str] = ("", "")
    last: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode


def encode_line(record: Record) -> bytes:
    body = _encode(record)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode_lines(data: bytes) -> tuple[list[Record], int]:
    """The records, and how many bytes of `data` are good; ValueError where what follows a broken line is whole."""
    records: list[Record] = []
    good = 0
    while (end := data.find(b"\n", good)) >= 0:
        line = data[good:end]
        body = line[9:]
        if line[8:9] != b" " or line[:8] != b"%08x" % zlib.crc32(body):
            if b"\n" in data[end + 1 :]:
                raise ValueError(f"the record at byte {good} is damaged, and more follow")
            break
        records.append(_decode(body))
        good = end + 1
    return records, good


class State:
    """What a log says: the attachments that are alive, and the address that each family gave out last."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.attachments: dict[tuple[str, str], Attachment] = {}
        self._last: dict[bool, str] = {}
        for record in records:
            self.enter(record)

    @property
    def last(self) -> tuple[str, ...]:
        return tuple(self._last.values())

    def enter(self, record: Record) -> None:
        given: Iterable[str] = record.last
        if record.op == "put" and record.attachment is not None:
            self.attachments[record.attachment.key] = record.attachment
            given = (address.partition("/")[0] for address in record.attachment.addresses)
        elif record.op == "drop":
            self.attachments.pop(record.key, None)
        self._last.update({":" in address: address for address in given})

    def records(self) -> Iterable[Record]:
        """The shortest log that says the same."""
        yield from (Record("put", attachment) for attachment in self.attachments.values())
        yield Record("last", last=self.last)


class Journal:
    """Open until `close`; `state` is what is on disk."""

    def __init__(self, path: Path, slack: int = SLACK) -> None:
        self._path = path
        self._slack = slack
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise UserError(
                f"cannot open {path}: {problem.strerror}", "see stateDir in the AgentConfiguration"
            ) from problem
        self._lock()
        self._pending: list[tuple[Record, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._length = 0  # records in the file
        self.state = self._load()

    def close(self) -> None:
        """What was appended is on disk; a write that nobody waits for any more may be lost."""
        os.close(self._fd)

    async def append(self, record: Record) -> None:
        """On disk when this returns. WorldError where the disk refuses; nothing of it is there then."""
        done = asyncio.get_running_loop().create_future()
        self._pending.append((record, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await asyncio.shield(done)

    async def _write(self) -> None:
        """Everything that waits, with one write and one fsync a round."""
        while self._pending:
            batch, self._pending = self._pending, []
            try:
                await asyncio.to_thread(self._put_on_disk, [record for record, _ in batch])
            except OSError as problem:
                for _, done in batch:
                    done.set_exception(WorldError(f"cannot write {self._path}: {problem.strerror}"))
            else:
                for _, done in batch:
                    done.set_result(None)

    def _put_on_disk(self, records: Sequence[Record]) -> None:
        self._append(b"".join(map(encode_line, records)))
        for record in records:
            self.state.enter(record)
        self._length += len(records)
        if self._length > 2 * len(self.state.attachments) + self._slack:
            try:
                self._rewrite()
            except OSError as problem:  # the long log is as good; the next append tries again
                logger.warning("cannot shorten %s: %s", self._path, problem.strerror)

    def _append(self, data: bytes) -> None:
        start = os.lseek(self._fd, 0, os.SEEK_CUR)
        try:
            _write_all(self._fd, data)
            os.fdatasync(self._fd)
        except OSError:  # what is half written now would break the log for those that come after
            os.ftruncate(self._fd, start)
            os.lseek(self._fd, start, os.SEEK_SET)
            raise

    def _rewrite(self) -> None:
        """The log anew, without its history."""
        records = list(self.state.records())
        draft = self._path.with_suffix(".new")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_all(fd, b"".join(map(encode_line, records)))
            os.fsync(fd)
            draft.rename(self._path)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd, self._length = fd, len(records)
        files.sync_folder(self._path.parent)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            os.close(self._fd)
            raise self._in_use() from held
        if not os.path.samestat(os.fstat(self._fd), self._path.stat()):  # another agent just wrote its log anew
            os.close(self._fd)
            raise self._in_use()

    def _in_use(self) -> UserError:
        return UserError(f"{self._path} is in use by another agent", "one agent a node; stop the other one")

    def _load(self) -> State:
        data = self._path.read_bytes()
        try:
            records, good = decode_lines(data)
        except (ValueError, msgspec.DecodeError) as damage:
            raise UserError(
                f"the journal {self._path} is damaged: {damage}",
                "restore it, or drain the node, remove the file and start its pods anew",
            ) from damage
        if good < len(data):
            logger.warning("cut off a torn record of %d bytes at the end of %s", len(data) - good, self._path)
            os.ftruncate(self._fd, good)
        os.lseek(self._fd, good, os.SEEK_SET)
        self._length = len(records)
        return State(records)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
