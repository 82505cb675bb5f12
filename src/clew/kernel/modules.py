"""Modules of the running kernel, loaded by the machine's own modprobe, as it is configured."""

import shutil
import subprocess

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 30


def load(name: str) -> str:
    """Load one, where it is not; "" where that worked, else why not, in one sentence. Blocking."""
    program = _modprobe()
    if program is None:
        return "there is no program modprobe to load it: install the package kmod"
    done = subprocess.run([program, name], capture_output=True, text=True, check=False, timeout=SECONDS)
    return " ".join(done.stderr.split()) or f"modprobe {name} ended with {done.returncode}" if done.returncode else ""


def loadable(name: str) -> bool:
    """Whether the machine has one by this name, loaded, built in or neither; loads nothing. Blocking."""
    program = _modprobe()
    if program is None:
        return False
    done = subprocess.run([program, "--dry-run", "--quiet", name], capture_output=True, check=False, timeout=SECONDS)
    return done.returncode == 0


def _modprobe() -> str | None:
    return shutil.which("modprobe", path=PATH)
