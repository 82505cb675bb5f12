"""Building a stand-in's root file system: a folder under construction that knows the hash of what went into it.

A tree is a skeleton (a merged /usr, an /etc of its own) plus programs copied from the machine plus read-only binds of
the machine's shared folders (libraries, an interpreter). The machine's own /etc, /root, /home and /var never show.
Called by the stand-ins; the service gives the folder and renames it into place when it is whole.
"""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from clew.cluster.images.image import Bind, ImageError, ProcessConfig
from clew.cluster.images.own import OwnProgram

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_FOLDERS = (
    *("dev", "etc", "home", "mnt", "opt", "proc", "run", "srv", "sys", "usr/bin", "usr/local/bin", "usr/sbin"),
    *("usr/share", "var/cache", "var/lib", "var/log"),
)
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_LIBRARIES = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32")
_ACCOUNTS = "root:x:0:0:root:/root:/bin/sh\n{}nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
_GROUPS = "root:x:0:\ntty:x:5:\nusers:x:100:\n{}nogroup:x:65534:\n"


class Tree:
    """A root file system being built under `root`, an empty folder. Paths inside it are given without a leading /."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.binds: dict[str, str] = {}  # target -> source
        self.size = 0
        self._entries: dict[str, tuple[str, int, str]] = {}

    def folder(self, path: str, mode: int = 0o755) -> None:
        """A folder and, plainly, its parents; an existing one keeps its mode."""
        parent = os.path.dirname(path)  # noqa: PTH120  (a relative text, not a file)
        if parent and parent not in self._entries:
            self.folder(parent)
        if path not in self._entries:
            (self.root / path).mkdir()
            (self.root / path).chmod(mode)
            self._entries[path] = ("folder", mode, "")

    def file(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        data = content.encode() if isinstance(content, str) else content
        self._parent(path)
        (self.root / path).write_bytes(data)
        (self.root / path).chmod(mode)
        self.size += len(data)
        self._entries[path] = ("file", mode, hashlib.sha256(data).hexdigest())

    def copy(self, source: Path, path: str, mode: int = 0o755) -> None:
        self.file(path, source.read_bytes(), mode)

    def link(self, path: str, target: str) -> None:
        self._parent(path)
        if path not in self._entries:
            (self.root / path).symlink_to(target)
            self._entries[path] = ("link", 0, target)

    def bind(self, source: str, target: str = "") -> None:
        """Show the machine's folder `source` at `target` (by default the same path), read-only."""
        target = target or source
        inside = any(_within(target, other) and _within(source, at) for other, at in self.binds.items())
        if not inside:
            self.folder(target.lstrip("/"))
            self.binds[target] = source

    def has(self, path: str) -> bool:
        return path in self._entries

    def image_id(self, process: ProcessConfig) -> str:
        """`sha256:…` over every path, mode, byte and link, the binds and the process."""
        facts = [sorted(self._entries.items()), sorted(self.binds.items()), [str(process)]]
        return "sha256:" + hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def image_binds(self) -> tuple[Bind, ...]:
        """Outer folders before those inside them, as they must be mounted."""
        return tuple(Bind(source=source, target=target) for target, source in sorted(self.binds.items()))

    def _parent(self, path: str) -> None:
        parent = os.path.dirname(path)  # noqa: PTH120
        if parent:
            self.folder(parent)


def skeleton(tree: Tree, *, users: str = "", groups: str = "", whole_usr: bool = False) -> None:
    """The folders, the merged-/usr links and an /etc of its own; `users` and `groups` are whole passwd/group lines.

    With `whole_usr` the machine's /usr is shown as it is, read-only; otherwise the tree has a /usr of its own.
    """
    for path in _FOLDERS if not whole_usr else [name for name in _FOLDERS if not name.startswith("usr/")]:
        tree.folder(path)
    tree.folder("tmp", 0o1777)
    tree.folder("var/tmp", 0o1777)
    tree.folder("root", 0o755)  # an interpreter of root's own (pyenv) may be shown beneath it
    tree.link("var/run", "/run")
    for name in _MERGED:
        if (Path("/") / name).is_symlink() or name in {"bin", "sbin"}:
            tree.link(name, f"usr/{name}")
    if whole_usr:
        tree.bind("/usr")
        for name in _MERGED:
            if not (Path("/") / name).is_symlink() and (Path("/") / name).is_dir():
                tree.bind(f"/{name}")
    tree.file("etc/passwd", _ACCOUNTS.format(users))
    tree.file("etc/group", _GROUPS.format(groups))
    tree.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")


def shells(tree: Tree) -> None:
    """Debian's static busybox and a link for each of its applets, all in /bin."""
    busybox = shutil.which("busybox", path="/usr/bin:/bin:/usr/sbin:/sbin")
    if busybox is None:
        raise missing("busybox", "busybox-static")
    binary = Path(busybox).resolve()
    tree.copy(binary, "usr/bin/busybox")
    for applet in _applets(binary):
        tree.link(f"usr/bin/{applet}", "busybox")


def libraries(tree: Tree) -> None:
    """The machine's shared libraries, so that its dynamic programs run when copied into the tree."""
    for source in _LIBRARIES:
        if Path(source).is_dir() and not Path(source).is_symlink():
            tree.bind(source)
    for name in ("lib", "lib64"):
        if not Path("/", name).is_symlink() and Path("/", name).is_dir():
            tree.bind(f"/{name}")
    for name in ("etc/ld.so.cache", "etc/ssl/certs/ca-certificates.crt", "etc/ssl/openssl.cnf"):
        if Path("/", name).is_file():
            tree.copy(Path("/", name), name, 0o644)


def program(tree: Tree, name: str, package: str = "", *, required: bool = True) -> bool:
    """Copy a program of the machine to /usr/bin; ImageError names the Debian package where it is missing."""
    found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin")
    if found is None:
        if required:
            raise missing(name, package or name)
        return False
    tree.copy(Path(found).resolve(), f"usr/bin/{name}")
    return True


def python(tree: Tree, own: OwnProgram) -> None:
    """The interpreter that runs Clew, reachable as /opt/python whatever its path; `libraries` must be there too."""
    base = os.path.realpath(own.base_prefix)
    if base == "/usr":
        tree.copy(Path(own.interpreter), own.interpreter.lstrip("/"))
    else:
        tree.bind(base)
    tree.link("opt/python", own.interpreter)


def missing(name: str, package: str) -> ImageError:
    return ImageError(
        "ErrImagePull",
        f"the stand-in needs the program {name}, which is not installed on this machine; "
        f"install it with: apt-get install {package}",
    )


def _applets(busybox: Path) -> list[str]:
    done = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.split()


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
