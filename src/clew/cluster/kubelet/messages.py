"""What a container leaves behind when it ends: its termination message, from its file or the end of its log."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clew.api.objects import Object
from clew.cluster.kubelet.starting import message_file
from clew.cluster.kubelet.surroundings import Surroundings

_MOST = 4096  # bytes of the file
_LOG_MOST, _LOG_LINES = 2048, 80  # of the log, under FallbackToLogsOnError


def termination_message(around: Surroundings, pod: Object, record: Mapping[str, Any]) -> str:
    """By the container's terminationMessagePolicy; nothing where it left nothing."""
    labels = record["labels"]
    path = message_file(labels["uid"], labels["container"], int(labels["attempt"]))
    text = _head(around.on_host(path), _MOST)
    if text or not record.get("code"):
        return text
    listed = [*pod["spec"].get("containers", ()), *(pod["spec"].get("initContainers") or ())]
    container: Object = next((each for each in listed if each["name"] == labels["container"]), {})
    if container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return ""
    return log_tail(around.on_host(record.get("log", "")))


def _head(path: Path, most: int) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(most).decode(errors="replace")


def log_tail(path: Path) -> str:
    """The end of a log, without times and stream names."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4 * _LOG_MOST))
            lines = file.read().split(b"\n")
    except OSError:
        return ""
    out = b"".join(_content(line) for line in lines[-_LOG_LINES - 1 :] if line)
    return out[-_LOG_MOST:].decode(errors="replace")


def _content(line: bytes) -> bytes:
    parts = line.split(b" ", 3)
    if len(parts) < 4:
        return b""
    return parts[3] + (b"\n" if parts[2] == b"F" else b"")
