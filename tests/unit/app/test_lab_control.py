"""One line each way: results, refusals with their remedy, and a daemon that is gone or does not answer."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from clew.app import lab_control, lab_state
from clew.base.errors import UserError
from clew.cluster.paths import LabPaths


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabPaths]:
    """A lab's folders below tmp_path, and a living process whose command line is a daemon's."""
    monkeypatch.setattr(LabPaths, "run", property(lambda self: tmp_path / self.name))
    made = LabPaths("x")
    made.run.mkdir()
    program = "print(flush=True); input()"
    daemon = subprocess.Popen(
        [sys.executable, "-c", program, "clew.app.lab", "x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert daemon.stdout is not None
    daemon.stdout.readline()  # from now on /proc shows its command line
    (made.run / lab_state.PID).write_text(str(daemon.pid))
    try:
        yield made
    finally:
        daemon.kill()
        daemon.communicate()


async def _handle(asked: Mapping[str, Any]) -> Any:
    if asked["op"] == "refuse":
        raise UserError("no", "say please")
    return {"said": asked["text"] * 2}


def _asked(paths: LabPaths, op: str, **arguments: Any) -> Any:
    async def run() -> Any:
        server = asyncio.create_task(lab_control.serve(paths, _handle))
        try:
            for _ in range(10_000):
                if lab_control.path_of(paths).exists():
                    break
                await asyncio.sleep(0)
            assert stat.S_IMODE(lab_control.path_of(paths).stat().st_mode) == 0o600
            return await asyncio.to_thread(lab_control.ask, paths, op, 5.0, **arguments)
        finally:
            server.cancel()

    return asyncio.run(run())


def test_a_result_comes_back(paths: LabPaths) -> None:
    assert _asked(paths, "double", text="ab") == {"said": "abab"}


def test_a_refusal_keeps_its_remedy_and_a_defect_points_to_the_log(paths: LabPaths) -> None:
    with pytest.raises(UserError, match=r"no \(say please\)"):
        _asked(paths, "refuse")
    with pytest.raises(UserError, match=r"daemon\.log"):
        _asked(paths, "double")


def test_a_daemon_that_hangs_is_named_with_what_to_do(paths: LabPaths) -> None:
    with pytest.raises(
        UserError, match=r"does not answer \(end it, then resume the lab: kill -9 \d+; clew up --name x"
    ):
        lab_control.ask(paths, "parts")


def test_without_a_daemon_the_remedy_is_to_resume(paths: LabPaths) -> None:
    (paths.run / lab_state.PID).write_text(str(os.getpid()))  # alive, and no daemon
    with pytest.raises(UserError, match="lab x is not running"):
        lab_control.ask(paths, "parts")
