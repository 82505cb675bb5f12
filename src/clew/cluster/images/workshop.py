"""Where stand-ins are built and kept: one folder each, named by the hash of its content, whole or absent.

A stand-in is built anew by every process that wants it (tens of milliseconds) and thrown away again if the same
content is there already, so that an upgrade of the machine's packages gives a new folder and running containers keep
theirs. Folders made before the machine's last start are not trusted (a power cut may have emptied their files) and no
container runs from them: they are swept.
"""

import json
import os
import shutil
import tempfile
import threading
from pathlib import Path

import msgspec

from clew.base.value import Value
from clew.cluster.images.image import Bind, ListedImage, ProcessConfig
from clew.cluster.images.own import OwnProgram
from clew.cluster.images.stand_ins import StandIn
from clew.cluster.images.tree import Tree

_RECORD = "stand-in.json"


class Built(Value):
    """A stand-in that is there, whatever reference asks for it."""

    name: str
    id: str
    rootfs: str
    binds: tuple[Bind, ...]
    process: ProcessConfig
    made_of: str
    size: int


class Workshop:
    """The stand-ins under `root`. Calls block (files, now and then a short program): for a thread."""

    def __init__(self, root: Path, own: OwnProgram) -> None:
        self.root = root
        self._own = own
        self._boot = _boot_id()[:8]
        self._built: dict[str, Built] = {}
        self._lock = threading.Lock()

    def ready(self, entry: StandIn) -> Built | None:
        """What was built before and is still there; cheap enough for the event loop."""
        built = self._built.get(entry.name)
        return built if built is not None and Path(built.rootfs).is_dir() else None

    def build(self, entry: StandIn) -> Built:
        """The stand-in, built if need be. ImageError where a part is missing, OSError where the disk refuses."""
        with self._lock:
            self.root.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".draft-{os.getpid()}-", dir=self.root))
            try:
                built = self._build_in(draft, entry)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            self._built[entry.name] = built
            return built

    def _build_in(self, draft: Path, entry: StandIn) -> Built:
        draft.chmod(0o755)
        rootfs = draft / "rootfs"
        rootfs.mkdir(mode=0o755)
        tree = Tree(rootfs)
        recipe = entry.build(tree, self._own)
        image_id = tree.image_id(recipe.process)
        final = self.root / f"{entry.name}-{image_id[7:19]}-{self._boot}"
        built = Built(
            name=entry.name,
            id=image_id,
            rootfs=str(final / "rootfs"),
            binds=tree.image_binds(),
            process=recipe.process,
            made_of=recipe.made_of,
            size=tree.size,
        )
        (draft / _RECORD).write_bytes(msgspec.json.encode(built))
        try:
            draft.rename(final)
        except OSError:
            if not (final / _RECORD).exists():
                raise
        return built

    def sweep(self) -> None:
        """Remove folders from before the machine's last start, and drafts whose maker is gone."""
        for folder in self.root.glob("*"):
            if folder.name.startswith(".draft-"):
                stale = not Path("/proc", folder.name.split("-")[1]).exists()
            else:
                stale = not folder.name.endswith(self._boot)
            if stale:
                shutil.rmtree(folder, ignore_errors=True)

    def listed(self) -> list[ListedImage]:
        """Every stand-in on the disk, built by this process or another."""
        lines = []
        for record in sorted(self.root.glob(f"[!.]*/{_RECORD}")):
            try:
                built = msgspec.json.decode(record.read_bytes(), type=Built)
            except (OSError, json.JSONDecodeError, msgspec.DecodeError):
                continue  # swept meanwhile
            lines.append(ListedImage(reference=built.name, id=built.id, size=built.size, source="stand-in"))
        return lines


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
