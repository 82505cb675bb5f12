"""Switching a node on, where its supervisor does not come to listen."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clew.cluster.runtime import power


def hung() -> tuple[int, int]:
    """A process that lives, and the pipe that it says nothing into."""
    read, write = os.pipe()
    pid = os.posix_spawnp("sleep", ["sleep", "60"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])
    os.close(write)
    return pid, read


async def test_a_supervisor_that_lives_and_says_nothing_is_told_from_one_that_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a slow machine the node "did not start: see" an empty log, again and again: it had needed a moment more."""
    monkeypatch.setattr(power, "_spawn", lambda _config, _log: hung())
    monkeypatch.setattr(power, "_put_pause", lambda _path: None)
    monkeypatch.setattr(power, "START", 0.1)
    paths: Any = SimpleNamespace(
        name="none", log=tmp_path / "log", images=tmp_path / "images", netns=tmp_path.joinpath,
        node_tree=tmp_path.joinpath, node_socket=tmp_path.joinpath,
    )  # fmt: skip
    settings: Any = SimpleNamespace(files=lambda _node: {})
    with pytest.raises(power.PowerError, match=r"node n did not start: not within 0 s; see .*n\.log"):
        await power.switch_on(paths, "n", settings)
