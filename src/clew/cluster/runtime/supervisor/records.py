"""What the supervisor must not forget: one small file a sandbox or container, replaced whole, before anybody is told.

The files outlive the node's power-off, so that an exit code nobody has read yet is there after the next start.
"""

import itertools
import json
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Records:
    """Records under `root`, by id; each has a folder of its own, which may hold more."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._dropped = itertools.count()

    def folder(self, identity: str) -> Path:
        return self.root / identity

    def save(self, identity: str, record: Record) -> None:
        """Atomic against being killed at any point; not against a power cut, which ends what it tells of as well.

        A disk that is full costs what a power cut would then lose, and a line in the log. The node goes on: while the
        supervisor lives, its memory is what counts, and an end must be told in any case.
        """
        folder = self.folder(identity)
        try:
            folder.mkdir(exist_ok=True, mode=0o700)
            draft = folder / "record.new"
            draft.write_text(json.dumps(record), encoding="utf-8")
            draft.rename(folder / "record.json")
        except OSError as problem:
            sys.stderr.write(f"record {identity} is not on the disk: {problem.strerror}\n")
            sys.stderr.flush()

    def load(self) -> dict[str, Record]:
        """Everything that was saved; a folder without a record was never told of and is removed."""
        found = {}
        for folder in self.root.iterdir():
            try:
                found[folder.name] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                shutil.rmtree(folder, ignore_errors=True)
        return found

    def drop(self, identity: str) -> Path | None:
        """Forget it: at once nothing is under its name, which is free.

        What it held is put aside for the caller to delete, however long that takes: the path, None where is nothing.
        """
        folder, aside = self.folder(identity), self._aside()
        try:
            (folder / "record.json").unlink(missing_ok=True)
            folder.rename(aside)
        except OSError:
            return folder if folder.exists() else None
        return aside

    def clear(self, identity: str, names: Iterable[str]) -> Path:
        """Of what its folder holds, put these aside for the caller to delete; the record stays."""
        aside = self._aside()
        with suppress(OSError):  # the disk refuses: what is left goes with the record
            aside.mkdir(mode=0o700)
        for name in names:
            with suppress(OSError):  # it has none
                (self.folder(identity) / name).rename(aside / name)
        return aside

    def _aside(self) -> Path:
        return self.root / f".dropped-{next(self._dropped)}"
