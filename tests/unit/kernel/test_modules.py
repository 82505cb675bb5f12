"""Loading modules by the machine's modprobe: what it says is handed on in one sentence."""

from pathlib import Path

import pytest

from clew.kernel import modules


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
    if script is not None:
        program = tmp_path / "modprobe"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setattr(modules, "PATH", str(tmp_path))
    assert modules.load("x") == reason
