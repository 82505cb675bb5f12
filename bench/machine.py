"""The facts of the machine that a reader needs to compare figures with their own."""

import os
import platform
from pathlib import Path


def facts() -> dict[str, str]:
    return {
        "processor": _field("/proc/cpuinfo", "model name"),
        "processors": str(os.cpu_count()),
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) >> 20} GiB",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "Python": platform.python_version(),
        "load when it began": f"{os.getloadavg()[0]:.1f}",
    }


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
