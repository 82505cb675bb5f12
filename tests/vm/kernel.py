"""Debian's stock kernel made ready to boot: image, modules and the first file system, kept in a cache folder.

Fetched with apt-get and unpacked, never installed: the machine's own kernel and boot files stay as they are. Only what
networking and the guest's files need is kept of the modules. `ready()` is quick when nothing is missing.
"""

import fcntl
import hashlib
import lzma
import os
import platform
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import packages

HERE = Path(__file__).parent
META_PACKAGE = "linux-image-amd64"
EARLY = ("virtio_pci", "9pnet_virtio", "9p", "overlay")  # what it takes to reach the host's files
KEPT = (
    "net", "crypto", "lib", "fs", "arch", "drivers/virtio", "drivers/char/hw_random", "drivers/net/*.ko",
    "drivers/net/bonding", "drivers/net/ipvlan", "drivers/net/vxlan", "drivers/net/wireguard",
)  # fmt: skip
XZ = b"\xfd7zXZ\0"
SETUP_SECTS, PAYLOAD = 0x1F1, 0x248  # Linux: Documentation/arch/x86/boot.rst, the setup header


class CannotBootError(Exception):
    """The machine cannot run the guest; the message says what is missing."""


@dataclass(frozen=True)
class Kernel:
    release: str
    image: Path
    first_files: Path  # the initial RAM file system
    modules: Path  # becomes /lib/modules/RELEASE


def ready(say: Callable[[str], object]) -> Kernel:
    """The kernel, made first where it is not in the cache, and then it says so. Raises CannotBootError."""
    if platform.machine() != "x86_64":
        raise CannotBootError(f"the vm lane boots Debian's amd64 kernel; this machine is {platform.machine()}")
    for program, package in (
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("depmod", "kmod"),
        ("busybox", "busybox-static"),
    ):
        if not shutil.which(program, path=os.environ["PATH"] + packages.SYSTEM_PATH):
            raise CannotBootError(f"{program} is missing: apt-get install {package}")
    cache = packages.cache_folder() / "kernel"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(cache / "lock"):
            present = sorted(cache.glob("*/complete"), key=lambda mark: mark.stat().st_mtime)
            kernel = _known(present[-1].parent) if present else _fetched(cache, say)
            _first_files(kernel)
    except packages.PackageError as error:
        raise CannotBootError(str(error)) from None
    return kernel


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _known(folder: Path) -> Kernel:
    release = folder.name
    stamp = hashlib.sha256((HERE / "init").read_bytes()).hexdigest()[:12]
    return Kernel(release, folder / "image", folder / f"first-{stamp}.cpio", folder / "modules/lib/modules" / release)


def _name() -> str:
    """The package of the kernel that Debian installs today."""
    for update in (False, True):
        if update:
            packages.run("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", "update")
        found = packages.run("apt-cache", "depends", META_PACKAGE).decode().split()
        names = [word for word in found if word.startswith("linux-image-") and word != META_PACKAGE]
        if names:
            return names[0]
    raise CannotBootError(f"no package {META_PACKAGE} in apt's lists: the vm lane boots Debian's kernel")


def _fetched(cache: Path, say: Callable[[str], object]) -> Kernel:
    with TemporaryDirectory(dir=cache) as work:
        name = _name()
        say(f"fetching {name} from Debian into {cache}, once: some 70 MB")
        archive = packages.downloaded(name, Path(work))
        release = archive.name.removeprefix("linux-image-").partition("_")[0]
        folder = cache / release
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        kernel = _known(folder)
        tree = Path(work, "tree")
        tree.mkdir()
        within = f"./lib/modules/{release}"
        wanted = [f"./boot/vmlinuz-{release}", f"{within}/modules.builtin*", f"{within}/modules.order"]
        wanted += [f"{within}/kernel/{part}" for part in KEPT]
        unpacked = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE)
        tar = ["tar", "-x", "-C", tree, "--wildcards", "--no-wildcards-match-slash", *wanted]
        done = subprocess.run(tar, stdin=unpacked.stdout, capture_output=True, check=False, timeout=300)
        unpacked.wait(60)
        image = tree / "boot" / f"vmlinuz-{release}"
        if not image.exists():
            raise CannotBootError(f"{archive.name} cannot be unpacked: {done.stderr.decode(errors='replace')}")
        kernel.image.write_bytes(_uncompressed(image.read_bytes()))
        shutil.move(tree / "lib", folder / "modules/lib")
    packages.run("depmod", "-b", folder / "modules", release)
    (folder / "complete").touch()
    return kernel


def _uncompressed(image: bytes) -> bytes:
    """The ELF inside a bzImage, which a machine without firmware enters at once: unpacking it there costs seconds.

    Where it is packed otherwise than with XZ, the image as it came.
    """
    offset, size = struct.unpack_from("<II", image, PAYLOAD)
    start = (image[SETUP_SECTS] + 1) * 512 + offset
    payload = image[start : start + size]
    return lzma.LZMADecompressor().decompress(payload) if payload.startswith(XZ) else image


def _first_files(kernel: Kernel) -> None:
    """Busybox, the modules that reach the host's files, and `init`, as the archive that the kernel unpacks."""
    if kernel.first_files.exists():
        return
    with TemporaryDirectory() as work:
        tree = Path(work)
        for name in ("bin", "modules", "proc", "sys", "dev", "lower", "layer", "new"):
            (tree / name).mkdir()
        shutil.copy2(_static_busybox(), tree / "bin/busybox")
        shutil.copy2(HERE / "init", tree / "init")
        (tree / "init").chmod(0o755)
        order = []
        for path in _dependencies(kernel):
            if path.name not in order:
                shutil.copy2(path, tree / "modules")
                order.append(path.name)
        (tree / "modules/order").write_text("".join(f"{name}\n" for name in order))
        names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
        packed = packages.run("busybox", "cpio", "-o", "-H", "newc", cwd=tree, data=names.encode())
        for stale in kernel.first_files.parent.glob("first-*"):
            stale.unlink()
        fresh = kernel.first_files.with_suffix(".new")
        fresh.write_bytes(packed)
        fresh.rename(kernel.first_files)


def _static_busybox() -> Path:
    path = Path(shutil.which("busybox") or "")
    if b"/ld-linux" in path.read_bytes()[:8192]:  # the interpreter that a dynamic program names in its head
        raise CannotBootError(
            f"{path} needs libraries, which are not there before the files are: apt-get install busybox-static"
        )
    return path


def _dependencies(kernel: Kernel) -> Iterator[Path]:
    base = kernel.modules.parents[2]
    for module in EARLY:
        listed = packages.run("modprobe", "-d", base, "-S", kernel.release, "-D", module).decode()
        for line in listed.splitlines():
            if line.startswith("insmod "):
                yield Path(line.split()[1])
