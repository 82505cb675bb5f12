"""The machine's devices, as a privileged container is given them."""

import os
import stat
from pathlib import Path
from typing import Any

_LEFT_OUT = {"console", "fd", "hugepages", "mqueue", "ptmx", "pts", "shm", "stderr", "stdin", "stdout", "tty"}


def machine_devices(root: Path = Path("/dev")) -> tuple[dict[str, Any], ...]:
    """Every character and block device under /dev but what each container has of its own."""
    found = []
    for folder, _, names in os.walk(root):
        below = Path(folder).relative_to(root)
        if below.parts and below.parts[0] in _LEFT_OUT:
            continue
        for name in names:
            if not below.parts and name in _LEFT_OUT:
                continue
            device = _device(Path(folder, name))
            if device is not None:
                found.append(device)
    return tuple(found)


def _device(path: Path) -> dict[str, Any] | None:
    try:
        info = path.lstat()
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(info.st_mode) else "b" if stat.S_ISBLK(info.st_mode) else ""
    if not kind:
        return None
    return {
        "path": str(path), "type": kind, "major": os.major(info.st_rdev), "minor": os.minor(info.st_rdev),
        "fileMode": stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid,
    }  # fmt: skip
