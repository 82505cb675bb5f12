"""Starting programs from the supervisor: posix_spawn, so that nothing of it is copied, with clean signals.

The child is told apart by its pid; the loop hands over its status.
"""

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from typing import Any

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": SEARCH, "LANG": "C.UTF-8", "HOME": "/root"}

# Python ignores SIGPIPE; an ignored signal stays ignored in what is started, and shells rely on it.
_DEFAULTS = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD]


def find(program: str) -> str:
    """The path of a program, FileNotFoundError where there is none."""
    found = program if "/" in program else shutil.which(program, path=SEARCH)
    if found is None:
        raise FileNotFoundError(2, f"{program}: not found on {SEARCH}")
    return found


def start(
    argv: Sequence[str],
    *,
    stdin: int = -1,
    stdout: int = -1,
    stderr: int = -1,
    env: Mapping[str, str] | None = None,
) -> int:
    """Start a program in a session of its own; -1 is /dev/null. Its pid; OSError where it cannot be started."""
    actions: list[tuple[Any, ...]] = []
    for number, fd in enumerate((stdin, stdout, stderr)):
        if fd < 0:
            actions.append((os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0))
        else:
            actions.append((os.POSIX_SPAWN_DUP2, fd, number))
    return os.posix_spawn(
        find(argv[0]), list(argv), dict(env if env is not None else ENVIRONMENT), file_actions=actions,
        setsigdef=_DEFAULTS, setsigmask=[], setsid=True,
    )  # fmt: skip


def exit_code(status: int) -> tuple[int, int]:
    """(exit code, signal) of a wait status; a death by signal n is 128 + n, as shells and runtimes count."""
    code = os.waitstatus_to_exitcode(status)
    return (code, 0) if code >= 0 else (128 - code, -code)
