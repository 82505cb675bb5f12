"""Folders and files that containers mount, made and filled in inside the node.

Contents of configMap, secret, projected and downwardAPI volumes change as one: they stand in a folder of their own,
`..data` points to it and is replaced by rename, and each visible name is a link through `..data` (the kubelet's
AtomicWriter; programs that watch their configuration rely on it). Paths given by users are resolved so that nothing
leads out of the volume.
"""

import base64
import os
import secrets
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from clew.cluster.runtime.supervisor import spawn
from clew.kernel import mounts

DATA, NEW_DATA = "..data", "..data_tmp"
_HOST_TYPES = {
    "Directory": stat.S_ISDIR, "File": stat.S_ISREG, "Socket": stat.S_ISSOCK, "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}  # fmt: skip
_WORDS = {
    "Directory": "a directory", "File": "a file", "Socket": "a socket file", "CharDevice": "a character device",
    "BlockDevice": "a block device",
}  # fmt: skip


def make_folder(path: str, mode: int, group: int | None, memory: int | None) -> None:
    """An emptyDir, or the place of another volume; `memory` makes it a tmpfs of that many bytes (0: half of all)."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    if memory is not None and not folder.is_mount():
        size = f",size={memory}" if memory else ""
        mounts.mount("tmpfs", path, "tmpfs", options=f"mode=755{size}")
    if group is not None:
        os.chown(folder, -1, group)
        mode |= 0o2070
    folder.chmod(mode)


def write_files(path: str, files: dict[str, dict[str, Any]], group: int | None) -> bool:
    """Make the folder hold exactly these files ({"data": base64, "mode": int, "uid"?}); False if it did already."""
    root = Path(path)
    current = root / DATA
    if current.is_symlink() and _same(current, files):
        return False
    version = root / f"..{time.strftime('%Y_%m_%d_%H_%M_%S', time.gmtime())}.{secrets.randbelow(10**9):09d}"
    version.mkdir(mode=0o755)
    for name, entry in files.items():
        _write_file(version, name, entry, group)
    before = root / os.readlink(current) if current.is_symlink() else None  # noqa: PTH115 - a text is wanted
    fresh = root / NEW_DATA
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version.name)
    fresh.rename(current)
    _visible_links(root, {name.split("/")[0] for name in files})
    if before is not None:
        shutil.rmtree(before, ignore_errors=True)
    return True


def _write_file(version: Path, name: str, entry: dict[str, Any], group: int | None) -> None:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise OSError(22, f'the path "{name}" must not lead out of its volume')
    target = version / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(base64.b64decode(entry["data"]))
    uid, mode = entry.get("uid", -1), entry["mode"]
    if group is not None or uid >= 0:
        os.chown(target, uid, -1 if group is None else group)
        mode |= 0o040 if group is not None else 0
    target.chmod(mode)


def _same(current: Path, files: dict[str, dict[str, Any]]) -> bool:
    there = {str(found.relative_to(current)) for found in current.rglob("*") if not found.is_dir()}
    if there != set(files):
        return False
    return all((current / name).read_bytes() == base64.b64decode(entry["data"]) for name, entry in files.items())


def _visible_links(root: Path, names: set[str]) -> None:
    for found in root.iterdir():
        if not found.name.startswith("..") and found.name not in names:
            found.unlink()
    for name in names:
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"{DATA}/{name}")


def host_path(path: str, kind: str) -> None:
    """Check, or make, what a hostPath volume asks for; the message is the kubelet's."""
    target = Path(path)
    if kind == "DirectoryOrCreate":
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
        kind = "Directory"
    elif kind == "FileOrCreate":
        if not target.exists():
            target.touch(mode=0o644)
        kind = "File"
    elif not kind:
        if not target.exists():  # container runtimes have always made it
            target.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    try:
        mode = target.stat().st_mode
    except OSError:
        mode = 0
    if not _HOST_TYPES[kind](mode):
        raise OSError(22, f"hostPath type check failed: {path} is not {_WORDS[kind]}")


def sub_path(volume: str, name: str, place: str) -> None:
    """Show `volume`/`name` at `place`, made as a folder where it is missing; links may not lead out of the volume."""
    root = os.path.realpath(volume)
    wanted = os.path.realpath(Path(root, name))
    _must_be_inside(wanted, root, name)
    fd = _open_below(root, Path(wanted).relative_to(root).parts, name)
    try:
        target = Path(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            mounts.unmount(place)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        mounts.bind(f"/proc/self/fd/{fd}", place)
    finally:
        os.close(fd)


def _open_below(root: str, parts: tuple[str, ...], name: str) -> int:
    """A descriptor of a path without links, each missing folder made as it is come to.

    What was resolved by name a moment ago, a container may have replaced meanwhile: nothing is looked up twice.
    """
    at = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mode = stat.S_IMODE(os.fstat(at).st_mode)
    try:
        for part in parts:
            made = False
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=at)
                made = True
            below = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
            _must_be_no_link(at, name)
            if made:
                os.chmod(f"/proc/self/fd/{at}", mode)  # noqa: PTH101 - of the descriptor, which is no more than a place
    except BaseException:
        os.close(at)
        raise
    return at


def _must_be_no_link(fd: int, name: str) -> None:
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        raise OSError(22, f'subPath "{name}" leads out of its volume')


def _must_be_inside(path: str, root: str, name: str) -> None:
    if path != root and not path.startswith(root.rstrip("/") + "/"):
        raise OSError(22, f'subPath "{name}" leads out of its volume')


def remove_tree(path: str) -> int:
    """Unmount whatever is below and start removing the folder; the pid of the remover."""
    prefix = path.rstrip("/") + "/"
    for point in reversed(mounts.mounted()):
        if point.path.startswith(prefix) or point.path == path:
            with suppress(OSError):
                mounts.unmount(point.path)
    return spawn.start(["rm", "-rf", "--one-file-system", path])
