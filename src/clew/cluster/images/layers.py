"""Unpacking layers into one folder: every path stays inside it, whatever the archive says.

Layers are applied in order onto the same tree, whiteouts removing what earlier layers put there, so that an image is
one folder and not a stack. A path is resolved component by component as the container would see it: the image's own
links are followed within the image (`/run` means the image's /run), and an entry that is absolute, climbs with `..`,
or leads through a link to nowhere is refused by name. Device nodes are left out: a container gets its own /dev.
Sources: OCI image specification 1.1, "Image Layer Filesystem Changeset"; pax headers as GNU tar and docker write them.
"""

import contextlib
import os
import shutil
import stat
import tarfile
from collections import deque
from pathlib import Path

from clew.base.errors import UserError

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."  # bookkeeping of an old storage driver, not content
_MOST_LINKS = 40  # as the kernel
_XATTR = "SCHILY.xattr."
_KEPT_XATTRS = ("security.capability", "user.")
_CHUNK = 1 << 20
_BLOCK = 4096  # what an entry takes of the disk beside its content


class RootFolder:
    """The tree being filled. The folder must be empty and nobody else's."""

    def __init__(self, root: Path, archive: str, room: int) -> None:
        """`archive` names the source in messages; `room` is what it may take of the disk, in bytes."""
        self.root = root
        self.size = 0
        self._room = room
        self._taken = 0
        self._archive = archive
        self._privileged = os.geteuid() == 0
        self._written: set[str] = set()  # by the layer being applied; paths relative to root, links resolved
        self._parents: dict[str, Path] = {}  # resolved folders; forgotten when a link may have changed them
        self._modes: dict[Path, int] = {}  # of folders, applied at the end: a layer may fill a read-only folder

    def apply(self, layer: tarfile.TarFile) -> None:
        """One layer's entries, in order. UserError names the entry that would leave the root; OSError from the disk."""
        self._written = set()
        for entry in layer:
            self._taken += _BLOCK + (entry.size if entry.isreg() else 0)
            if self._taken > self._room:
                raise self._refused(entry, f"would make it more than {self._room >> 20} MiB")
            self._apply_entry(layer, entry)

    def finish(self) -> None:
        """Give the folders their modes; to be called after the last layer."""
        for folder, mode in sorted(self._modes.items(), key=lambda item: len(item[0].parts), reverse=True):
            if folder.is_dir() and not folder.is_symlink():
                folder.chmod(mode)

    def _apply_entry(self, layer: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        parts = self._parts(entry.name, entry)
        if not parts:
            if entry.isdir():
                self._modes[self.root] = stat.S_IMODE(entry.mode)
            return
        parent = self._resolve(parts[:-1], entry, make=True)
        name = parts[-1]
        if name.startswith(_WHITEOUT):
            self._whiteout(parent, name, entry)
            return
        if entry.ischr() or entry.isblk():
            return
        place = parent / name
        self._clear(place, keep_folder=entry.isdir())
        if entry.isdir():
            place.mkdir(0o700, exist_ok=True)
            self._modes[place] = stat.S_IMODE(entry.mode)
        elif entry.issym():
            if not entry.linkname:
                raise self._refused(entry, "is a link to nothing")
            place.symlink_to(entry.linkname)
            self._parents.clear()
        elif entry.islnk():
            os.link(self._link_source(entry), place, follow_symlinks=False)
        elif entry.isfifo():
            os.mkfifo(place, 0o600)
        elif entry.isreg():
            self._write(layer, entry, place)
        else:
            raise self._refused(entry, "is of a kind that an image cannot have")
        self._written.add(self._relative(place))
        if not entry.islnk():
            self._attributes(entry, place)

    def _parts(self, name: str, entry: tarfile.TarInfo) -> list[str]:
        if name.startswith("/"):
            raise self._refused(entry, "is an absolute path")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if ".." in parts:
            raise self._refused(entry, "leaves the image's root")
        return parts

    def _resolve(self, parts: list[str], entry: tarfile.TarInfo, *, make: bool) -> Path:
        """The folder that `parts` lead to inside the root, links followed; missing ones are made where asked."""
        key = "/".join(parts)
        if (known := self._parents.get(key)) is not None:
            return known
        here: list[str] = []
        ahead = deque((part, False) for part in parts)  # a component, and whether a link brought it
        links = 0
        while ahead:
            part, linked = ahead.popleft()
            if part == "..":
                if not here:
                    raise self._refused(entry, "leaves the image's root through a link")
                here.pop()
                continue
            place = self.root.joinpath(*here, part)
            kind = _kind(place)
            if kind == "link":
                links += 1
                if links > _MOST_LINKS:
                    raise self._refused(entry, "goes through links without end")
                target = str(place.readlink())
                here = [] if target.startswith("/") else here
                ahead.extendleft((piece, True) for piece in reversed(target.split("/")) if piece not in {"", "."})
                continue
            if kind == "nothing":
                if linked or not make:
                    raise self._refused(entry, "leads through a link to a place that the image does not have")
                place.mkdir(0o755)
            elif kind != "folder":
                raise self._refused(entry, "lies beneath something that is not a folder")
            here.append(part)
            if make:
                self._written.add("/".join(here))
        self._parents[key] = self.root.joinpath(*here)
        return self._parents[key]

    def _link_source(self, entry: tarfile.TarInfo) -> Path:
        """What a hard link is to be a second name of: a file that the image already has."""
        parts = self._parts_of_target(entry)
        source = self._resolve(parts[:-1], entry, make=False) / parts[-1]
        if _kind(source) not in {"file", "link"}:
            raise self._refused(entry, f'is a hard link to "{entry.linkname}", a file that the image does not have')
        return source

    def _parts_of_target(self, entry: tarfile.TarInfo) -> list[str]:
        parts = [part for part in entry.linkname.split("/") if part not in {"", "."}]
        if entry.linkname.startswith("/") or ".." in parts or not parts:
            raise self._refused(entry, f'is a hard link to "{entry.linkname}", which leaves the image\'s root')
        return parts

    def _whiteout(self, parent: Path, name: str, entry: tarfile.TarInfo) -> None:
        """Remove what earlier layers put here; what this layer wrote stays, in whatever order entries come."""
        if name == _OPAQUE:
            self._clear_earlier(parent)
            return
        if name.startswith(_AUFS):
            return
        hidden = name[len(_WHITEOUT) :]
        if hidden in {"", ".", ".."}:
            raise self._refused(entry, "hides nothing that has a name")
        if self._relative(parent / hidden) not in self._written:
            self._clear(parent / hidden, keep_folder=False)

    def _clear_earlier(self, folder: Path) -> None:
        for child in list(folder.iterdir()):
            if self._relative(child) not in self._written:
                self._clear(child, keep_folder=False)
            elif _kind(child) == "folder":
                self._clear_earlier(child)

    def _clear(self, place: Path, *, keep_folder: bool) -> None:
        kind = _kind(place)
        if kind == "nothing" or (kind == "folder" and keep_folder):
            return
        self._parents.clear()
        if kind == "folder":
            shutil.rmtree(place)
        else:
            place.unlink()

    def _write(self, layer: tarfile.TarFile, entry: tarfile.TarInfo, place: Path) -> None:
        content = layer.extractfile(entry)
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            if content is not None:
                shutil.copyfileobj(content, file, _CHUNK)
        self.size += entry.size

    def _attributes(self, entry: tarfile.TarInfo, place: Path) -> None:
        """Owner, then mode (a change of owner drops set-user-id), then capabilities, then the time."""
        if self._privileged:
            os.chown(place, max(entry.uid, 0), max(entry.gid, 0), follow_symlinks=False)
        if not entry.issym() and not entry.isdir():
            place.chmod(stat.S_IMODE(entry.mode))
        for name, value in entry.pax_headers.items():
            xattr = name.removeprefix(_XATTR)
            if xattr != name and xattr.startswith(_KEPT_XATTRS):
                with contextlib.suppress(OSError):  # a file system without them, or without the right to set them
                    os.setxattr(place, xattr, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
        moment = int(max(entry.mtime, 0) * 1_000_000_000)
        with contextlib.suppress(OSError, OverflowError):
            os.utime(place, ns=(moment, moment), follow_symlinks=False)

    def _relative(self, place: Path) -> str:
        return str(place.relative_to(self.root))

    def _refused(self, entry: tarfile.TarInfo, why: str) -> UserError:
        return UserError(f'{self._archive}: the entry "{entry.name}" {why}; the image is refused')


def _kind(place: Path) -> str:
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return "nothing"
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"
