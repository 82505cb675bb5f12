"""DELs that came while there was no agent: the plugin leaves a file each, the agent carries them out.

Blocking, but only for a look into a folder that is empty nearly always.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from clew.cni import framing
from clew.cni.errors import CniError
from clew.cni.request import Call, parse

logger = logging.getLogger(__name__)


class Spool:
    """One folder; a file is named by container and interface, so that a repeated DEL is one tombstone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Make the folder and drop the drafts of plugins that were killed."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for draft in self._folder.glob(".*"):
            draft.unlink(missing_ok=True)

    def waiting(self) -> Iterator[tuple[Path, Call]]:
        """Each tombstone; remove its file with `done` when its DEL is carried out."""
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            if path.name.startswith("."):
                continue
            try:
                call = parse(*framing.decode_call(path.read_bytes()))
            except (CniError, OSError) as problem:
                logger.warning("the tombstone %s is of no use and goes: %s", path.name, problem)
                self.done(path)
                continue
            yield path, call

    def done(self, path: Path) -> None:
        path.unlink(missing_ok=True)
