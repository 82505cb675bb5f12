"""`clew up`: a lab created, or resumed as it was; what a creation that failed has made is removed again."""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from clew.app import kubeconfig_files, lab_control, lab_probe
from clew.app.lab_config import Flags, amended, read_spec
from clew.app.lab_down import down
from clew.app.lab_ready import wait_until_ready
from clew.app.lab_spec import CHANGEABLE, FIELDS, LabSpec, differences, stored_spec
from clew.app.lab_state import PID, READY, SPEC, daemon_pid, stored_kubeconfig
from clew.app.manifest_objects import AGENT
from clew.base.errors import UserError, WorldError
from clew.base.value import Value
from clew.cluster.paths import LabPaths
from clew.kernel import files
from clew.node.proxy_modes import DEFAULT

Say = Callable[[str], None]
_ROOM = 16 << 20  # bytes; a lab at rest takes 3 MiB, its logs and images come on top


def up(name: str, config: Path | None, flags: Flags, say: Say, wait: float) -> None:
    """Return when nodes and DNS are ready and kubectl's context is the lab's. UserError; the lab's lock is held.

    An existing lab keeps its shape: what flags do not say stays, what they or a file say may repeat it, not change it;
    the way between nodes and the service proxy alone may be others, and the nodes change over to them while they run.
    `wait` is in seconds and for the whole of it: a slow machine (one that interprets another's code) needs more.
    """
    paths, deadline = LabPaths(name), time.monotonic() + wait
    stored = stored_spec(paths)
    spec = amended(stored, flags) if stored is not None and config is None else read_spec(name, config, flags)
    changed = differences(stored, spec) if stored is not None else []
    if fields := [field for field in changed if field not in CHANGEABLE]:
        remedy = f"resume it: clew up --name {name}; or remove it first: clew down --name {name}"
        said = ", ".join(FIELDS.get(field, field) for field in fields)
        raise UserError(f"lab {name} is there with other {said}, which cannot change while it is", remedy)
    kubeconfig_files.check()
    if not daemon_pid(paths):
        _check_room(paths)
    try:
        _raise(paths, spec, _Step(say, deadline, insist=bool(flags) or config is not None))
    except BaseException as error:
        if stored is None:
            say("taking back what was made")
            try:
                down(name)
            except UserError as left:
                say(f"not all of it could be: {left}")
        if isinstance(error, OSError):
            where = f": {error.filename}" if error.filename else ""
            raise UserError(
                f"cannot make lab {name}: {error.strerror}{where}", "mend that, then clew up again"
            ) from None
        if isinstance(error, WorldError):
            raise UserError(f"cannot make lab {name}: {error}", "mend that, then clew up again") from None
        raise


class _Step(Value):
    """How to go about it; `insist`: the command says what the lab is to be, also to one that was changed by hand."""

    say: Say
    deadline: float
    insist: bool


def _raise(paths: LabPaths, spec: LabSpec, how: _Step) -> None:
    files.make_folder(paths.state, 0o700)
    files.make_folder(paths.run, 0o755)
    files.make_folder(paths.log)
    stored = stored_spec(paths)
    if spec != stored or not daemon_pid(paths):
        lab_probe.check(paths, spec)
    if spec != stored:
        files.replace(paths.state / SPEC, msgspec.json.encode(spec))
    running = bool(daemon_pid(paths))
    if not running:
        _start_daemon(paths)
    _wait_for_file(paths, how.deadline)
    how.say("API server answers")
    if stored is not None and (running or how.insist):
        changed = lab_control.ask(paths, "change", insist=how.insist)
        how.say(_told(changed, stored, spec))
    config = stored_kubeconfig(paths)
    if config is None:
        raise UserError(f"{paths.state} has no kubeconfig", f"clew down --name {paths.name}, then clew up")
    asyncio.run(wait_until_ready(paths, spec, how.say, how.deadline))
    kubeconfig_files.merge(paths.state, config)


def _told(changed: list[str], stored: LabSpec, spec: LabSpec) -> str:
    """What the daemon had to apply, in the user's words."""
    if not changed:
        return "nothing has to change"
    if f"ConfigMap {AGENT}" not in changed:
        return f"what Clew brings is applied: {', '.join(changed)}"
    parts = {"network": f"network {spec.network.backend}", "proxy": f"proxy mode {spec.proxy.get('mode') or DEFAULT}"}
    differs = [part for field, part in parts.items() if field in differences(stored, spec)]
    return f"the nodes change over to {' and '.join(differs or parts.values())}"


def _check_room(paths: LabPaths) -> None:
    """A full disk is found out here, where it can be said; later a daemon could not even write down why it ended."""
    for path in (paths.state, paths.log, paths.run):
        there = next(each for each in (path, *path.parents) if each.exists())
        if shutil.disk_usage(there).free < _ROOM:
            raise UserError(f"No space left on device: less than {_ROOM >> 20} MiB for {path}", "free some there")


def _start_daemon(paths: LabPaths) -> None:
    for stale in (READY, PID):
        (paths.run / stale).unlink(missing_ok=True)
    with (paths.log / "daemon.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "clew.app.lab", paths.name], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, cwd="/",
        )  # fmt: skip


def _wait_for_file(paths: LabPaths, deadline: float) -> None:
    """Until the API server answers; UserError with the daemon's last word."""
    while not (paths.run / READY).exists():
        if time.monotonic() > deadline or ((paths.run / PID).exists() and not daemon_pid(paths)):
            raise UserError(f"the lab's daemon did not start: {_last_line(paths)}", "mend that, then clew up again")
        time.sleep(0.02)  # noqa: TID251 - a command waits for another process


def _last_line(paths: LabPaths) -> str:
    with suppress(OSError, IndexError):
        return (paths.log / "daemon.log").read_text().strip().splitlines()[-1]
    return "it wrote nothing"
