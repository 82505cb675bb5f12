"""Loading modules by the machine's modprobe: what it says is handed on in one sentence."""

from pathlib import Path

import pytest

from clew.kernel import modules


def said_by(script: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose modprobe, if it has one, is this."""
    if script is not None:
        program = folder / "modprobe"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setattr(modules, "PATH", str(folder))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", ""),
        ("echo 'FATAL: Module x\n not found' >&2; exit 1", "FATAL: Module x not found"),
        ("exit 3", "modprobe x ended with 3"),
        (None, "there is no program modprobe to load it: install the package kmod"),
    ],
)
def test_why_a_module_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, reason: str
) -> None:
    said_by(script, tmp_path, monkeypatch)
    assert modules.load("x") == reason


@pytest.mark.parametrize(
    ("script", "is_there"),
    [('[ "$*" = "--dry-run --quiet x" ]', True), ("exit 1", False), (None, False)],
)
def test_whether_there_is_a_module_is_asked_without_loading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, is_there: bool
) -> None:
    said_by(script, tmp_path, monkeypatch)
    assert modules.loadable("x") is is_there
