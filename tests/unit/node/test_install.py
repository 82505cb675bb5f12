"""The plugin and its configuration on a node."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clew.base.errors import UserError
from clew.node import install
from clew.node.install import PROGRAM, CniPaths, install_configuration, install_plugin, keep


@pytest.fixture(autouse=True)
def _no_static_plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever has been built in this checkout."""
    monkeypatch.setattr(install, "STATIC", tmp_path / "none")


def paths(root: Path) -> CniPaths:
    return CniPaths(root / "bin", root / "net.d" / "10-clew.conflist", root / "cni.sock", root / "spool")


def test_both_are_as_runtimes_read_them(tmp_path: Path) -> None:
    where = paths(tmp_path)
    install_plugin(where)
    install_configuration(where)
    program = tmp_path / "bin" / "clew-cni"
    assert program.read_bytes() == PROGRAM.read_bytes().replace(b"/run/clew/cni.sock", str(where.socket).encode())
    assert program.stat().st_mode & 0o777 == 0o755
    conflist = json.loads(where.config_file.read_text())
    assert conflist["cniVersion"] == "1.0.0"
    assert conflist["cniVersions"] == ["1.0.0", "1.1.0"]
    assert conflist["plugins"] == [
        {
            "type": "clew-cni",
            "capabilities": {"portMappings": True, "ips": True, "mac": True, "dns": True, "bandwidth": True},
            "agentSocket": str(tmp_path / "cni.sock"),
            "agentSpool": str(tmp_path / "spool"),
        }
    ]
    assert where.config_file.stat().st_mode & 0o777 == 0o600


def test_a_node_without_a_loopback_plugin_gets_one(tmp_path: Path) -> None:
    """Container runtimes call it for every pod, by a configuration that does not name the agent's socket."""
    where = paths(tmp_path)
    install_plugin(where)
    ours = where.bin_dir / "loopback"
    assert str(where.socket).encode() in ours.read_bytes()
    ours.write_bytes(ours.read_bytes() + b"# older\n")
    install_plugin(where)
    assert b"# older" not in ours.read_bytes(), "ours is kept up to date"
    ours.write_bytes(b"\x7fELF somebody else's")
    install_plugin(where)
    assert ours.read_bytes() == b"\x7fELF somebody else's", "a node's own stays"


def test_what_is_right_is_not_written_again(tmp_path: Path) -> None:
    where = paths(tmp_path)
    install_plugin(where)
    before = (tmp_path / "bin" / "clew-cni").stat().st_ino
    install_plugin(where)
    assert (tmp_path / "bin" / "clew-cni").stat().st_ino == before
    (tmp_path / "bin" / "clew-cni").chmod(0o600)
    install_plugin(where)
    assert (tmp_path / "bin" / "clew-cni").stat().st_mode & 0o777 == 0o755


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "bin").touch()
    with pytest.raises(UserError, match="clew-cni"):
        install_plugin(paths(tmp_path))


class Rounds:
    """A clock for `rounds` looks; then whoever waits is done."""

    def __init__(self, *between: Callable[[], object]) -> None:
        self._between = list(between)

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    async def sleep(self, _seconds: float) -> None:
        if not self._between:
            raise asyncio.CancelledError
        self._between.pop(0)()


async def test_what_somebody_removes_is_put_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A node whose configuration was removed once stayed unready until its agent was started anew."""
    where = paths(tmp_path)
    install_plugin(where)
    install_configuration(where)
    good = where.config_file.read_bytes()

    def refuse() -> None:
        where.config_file.unlink()
        where.config_file.parent.rmdir()
        where.config_file.parent.touch()

    def allow() -> None:
        assert [record.message for record in caplog.records] == [
            f"cannot write {where.config_file}: File exists (the agent's pod must mount this folder)"
        ]
        where.config_file.parent.unlink()

    rounds = (lambda: where.config_file.write_text("{}"), (where.bin_dir / "clew-cni").unlink, refuse, int, allow)
    with pytest.raises(asyncio.CancelledError):
        await keep(where, Rounds(*rounds))
    assert where.config_file.read_bytes() == good
    assert (where.bin_dir / "clew-cni").exists()
