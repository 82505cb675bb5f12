"""Debian packages fetched and unpacked, never installed: installing a daemon's package would start it.

For baselines of bench/ and the kernel of tests/vm. What has been unpacked stays in a cache folder outside the checkout.
"""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

DOWNLOAD = 1800  # seconds; a kernel is 70 MB
SYSTEM_PATH = ":/usr/sbin:/sbin"  # where administrators' programs are, which not every PATH has


class PackageError(Exception):
    """A package cannot be had; the message says why."""


def cache_folder() -> Path:
    """Chosen by CLEW_CACHE; it may be removed at any time."""
    chosen = os.environ.get("CLEW_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "clew-tests")


def run(*command: str | Path, cwd: Path | None = None, data: bytes | None = None, seconds: float = 300) -> bytes:
    """Standard output of a program; PackageError with its complaint."""
    shown = " ".join(map(str, command[:4]))
    env = {**os.environ, "PATH": os.environ["PATH"] + SYSTEM_PATH}
    try:
        done = subprocess.run(command, cwd=cwd, input=data, capture_output=True, check=False, timeout=seconds, env=env)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackageError(f"{shown} …: {error}") from None
    if done.returncode:
        raise PackageError(f"{shown} …: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def downloaded(package: str, folder: Path) -> Path:
    """The package's archive; with fresh lists where those at hand are missing or name what is no more there."""
    fetch = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package)
    try:
        run(*fetch, cwd=folder, seconds=DOWNLOAD)
    except PackageError:
        run("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", "update")
        run(*fetch, cwd=folder, seconds=DOWNLOAD)
    return next(folder.glob("*.deb"))


def unpacked(package: str) -> Path:
    """The root of the package's files, unpacked at first use; the vm lane's guest fetches none."""
    folder = cache_folder() / package
    if not folder.exists():
        if os.environ.get("CLEW_VM") == "guest":
            raise PackageError(f"{folder} is missing, and the guest has no network: unpack {package} before it boots")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as work:
            archive = downloaded(package, Path(work))
            run("dpkg-deb", "-x", archive, Path(work, "root"))
            shutil.move(Path(work, "root"), folder)
    return folder
