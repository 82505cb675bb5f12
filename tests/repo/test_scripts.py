"""Shell scripts held to shellcheck: every file of the repository that a shell reads."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def dialect(path: Path) -> str:
    """The shell that reads a file, "" for none."""
    if path.suffix == ".sh":
        return "sh"
    words = path.read_bytes()[:100].partition(b"\n")[0].split(b"/")[-1].split()
    return words[-1].decode() if path.read_bytes()[:2] == b"#!" and words[-1:] in ([b"sh"], [b"bash"]) else ""


def scripts() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in files if path.is_file() and dialect(path)]


def test_there_are_some() -> None:
    assert {"install", "test", "run", "init"} <= {path.name for path in scripts()}


@pytest.mark.parametrize("path", scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck_has_nothing_to_say(path: Path) -> None:
    command = ["shellcheck", "--external-sources", f"--shell={dialect(path)}", path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
