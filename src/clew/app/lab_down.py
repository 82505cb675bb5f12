"""`clew down`: all of a lab removed, whatever there is of it and whoever is still alive."""

import os
import shutil
import signal
import time
from contextlib import suppress

from clew.app import kubeconfig, kubeconfig_files
from clew.app.lab_state import daemon_pid
from clew.base.errors import UserError
from clew.cluster.fabric import remove
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.power import PowerError, cut_off

_DYING = 5.0  # seconds


def down(name: str) -> bool:
    """Tells whether there was anything. UserError says what is left; the lab's lock is held."""
    paths = LabPaths(name)
    roots = (paths.run, paths.state, paths.log)
    there = any(path.exists() for path in roots)
    _end_daemon(paths)
    try:
        cut_off(paths)
    except PowerError as error:
        raise UserError(f"lab {name} does not end: {error}", f"try again: clew down --name {name}") from None
    remove(paths)
    try:
        kubeconfig_files.remove(paths.state, kubeconfig.title(name))
    finally:
        for path in roots:
            shutil.rmtree(path, ignore_errors=True)
        for path in roots:
            with suppress(OSError):
                path.parent.rmdir()
    if left := [str(path) for path in roots if path.exists()]:
        raise UserError(f"{' and '.join(left)} cannot be removed", "see what is mounted or open there, then try again")
    return there


def _end_daemon(paths: LabPaths) -> None:
    """First of all, so that nothing is started again behind us."""
    pid = daemon_pid(paths)
    if not pid:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _DYING
        while daemon_pid(paths) and time.monotonic() < deadline:
            time.sleep(0.01)  # noqa: TID251 - a command waits for another process
