"""The lab's own images: what was loaded from archives or fetched from a registry, unpacked, by name.

    images/HEX/rootfs, images/HEX/image.json    an image, whole or absent, HEX its id
    names/HASH.json                             a name and the image it means
    .draft-PID-…                                being unpacked

Everything is unpacked in a draft, flushed to the disk, and renamed; then names point to it. A process that dies leaves
a draft, which the next one sweeps. Several processes may use the store at once: a lock file orders changes of names.
Calls block: for a thread.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from clew.base.errors import UserError
from clew.base.value import Value
from clew.cluster.images.archive import Archive, ArchivedImage
from clew.cluster.images.image import Image, ImageError, ListedImage, ProcessConfig, image_of
from clew.cluster.images.layers import RootFolder
from clew.cluster.images.reference import parse_reference
from clew.kernel.files import replace


class StoredImage(Value):
    id: str
    process: ProcessConfig
    size: int


class StoredName(Value):
    reference: str
    id: str
    source: str  # "loaded", "registry"


class ImageStore:
    """The images under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, reference: str) -> tuple[Image, StoredName] | None:
        """The image of a normalised reference; three small reads, no more."""
        try:
            name = msgspec.json.decode(self._name_path(reference).read_bytes(), type=StoredName)
            folder = self._folder(name.id)
            stored = msgspec.json.decode((folder / "image.json").read_bytes(), type=StoredImage)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return image_of(reference, stored.id, (str(folder / "rootfs"),), stored.process, stored.size), name

    def load(self, path: Path, *, as_reference: str = "", source: str = "loaded") -> list[str]:
        """Keep an archive's images; their names, normalised. With `as_reference` its one image gets that name.

        UserError says what is wrong with the archive or the disk; nothing is kept of a refused archive's bad image.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        names: list[str] = []
        try:
            with self._draft() as scratch, Archive(path, scratch) as archive:
                images = archive.images()
                wanted = [[as_reference] if as_reference else _names(image, path) for image in images]
                for image in images:
                    self._unpack(archive, image, scratch / image.id.rpartition(":")[2])
                for image, given in zip(images, wanted, strict=True):
                    self._keep(scratch / image.id.rpartition(":")[2], image, given, source)
                    names += given
        except OSError as problem:
            raise UserError(f"{path} could not be loaded: {problem.strerror or problem}") from problem
        return names

    def remove(self, reference: str, in_use: Collection[str] = ()) -> bool:
        """Forget a name, and the image with its last name; UserError if that image's id is `in_use`."""
        with self._locked():
            found = self.find(reference)
            if found is None:
                return False
            image = found[0]
            last = sum(name.id == image.id for name in self._names()) == 1
            if last and image.id in in_use:
                raise UserError(f"{reference} is in use by a container", "delete its pod first")
            self._name_path(reference).unlink()
            if last:
                shutil.rmtree(self._folder(image.id), ignore_errors=True)
            return True

    def listed(self) -> list[ListedImage]:
        lines = []
        for name in sorted(self._names(), key=lambda name: name.reference):
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                stored = msgspec.json.decode((self._folder(name.id) / "image.json").read_bytes(), type=StoredImage)
                familiar = parse_reference(name.reference).familiar
                lines.append(ListedImage(reference=familiar, id=stored.id, size=stored.size, source=name.source))
        return lines

    def sweep(self) -> None:
        """Remove the drafts of processes that are gone."""
        for draft in self.root.glob(".draft-*"):
            if not Path("/proc", draft.name.split("-")[1]).exists():
                shutil.rmtree(draft, ignore_errors=True)

    def _unpack(self, archive: Archive, image: ArchivedImage, draft: Path) -> None:
        if draft.exists():
            return  # the same image under another entry of the archive
        rootfs = draft / "rootfs"
        rootfs.mkdir(parents=True)
        draft.chmod(0o755)
        rootfs.chmod(0o755)
        tree = RootFolder(rootfs, str(archive.path), archive.room)
        for layer in image.layers:
            with archive.layer(layer) as entries:
                tree.apply(entries)
        tree.finish()
        stored = StoredImage(id=image.id, process=image.config.process(), size=tree.size)
        (draft / "image.json").write_bytes(msgspec.json.encode(stored))
        _flush(draft)

    def _keep(self, draft: Path, image: ArchivedImage, names: list[str], source: str) -> None:
        with self._locked():
            final = self._folder(image.id)
            final.parent.mkdir(exist_ok=True)
            if draft.exists() and not final.exists():
                draft.rename(final)
                _flush(final.parent)
            (self.root / "names").mkdir(exist_ok=True)
            for name in names:
                record = StoredName(reference=name, id=image.id, source=source)
                replace(self._name_path(name), msgspec.json.encode(record), 0o644)

    def drafts(self) -> Path:
        """A folder of this process's own for temporary files, swept when the process is gone."""
        folder = self.root / f".draft-{os.getpid()}-shared"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextlib.contextmanager
    def _draft(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(prefix=f".draft-{os.getpid()}-", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _names(self) -> list[StoredName]:
        found = []
        for path in (self.root / "names").glob("*.json"):
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                found.append(msgspec.json.decode(path.read_bytes(), type=StoredName))
        return found

    def _name_path(self, reference: str) -> Path:
        return self.root / "names" / f"{hashlib.sha256(reference.encode()).hexdigest()}.json"

    def _folder(self, image_id: str) -> Path:
        return self.root / "images" / image_id.rpartition(":")[2]


def _names(image: ArchivedImage, path: Path) -> list[str]:
    """Normalised names: the archive's own; where it gives a tag only, or nothing, the file's name stands in."""
    stem = path.name.partition(".")[0].lower()
    given = image.names or ("latest",)
    try:
        names = [parse_reference(name if any(mark in name for mark in "/:") else f"{stem}:{name}") for name in given]
    except ImageError as problem:
        raise UserError(f"{path} names its image in a way that no pod could: {problem.message}") from problem
    found = [str(name) for name in names]
    if image.digest:
        found += [f"{name.repository}@{image.digest}" for name in names]
    return list(dict.fromkeys(found))


def _flush(folder: Path) -> None:
    """Wait until everything on the folder's file system is on the disk: a rename must not outrun its content."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(fd)
