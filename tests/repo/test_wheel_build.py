"""The wheel is the same, byte for byte, wherever and whenever it is built, and holds nothing that is not ours."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = "clew/kernel/bpf/programs"
GENERATED = {  # hatch_build.py's
    "clew/api/data/schemas.gen.json",
    "clew/api/data/shapes.gen.json.z",
    *(f"{PROGRAMS}/{source.stem}.o" for source in (ROOT / "bpf").glob("*.bpf.c")),
}


def tracked() -> list[str]:
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def built(tree: Path, moment: int) -> Path:
    """The wheel of a fresh tree whose files are all of one moment."""
    for name in tracked():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
            os.utime(tree / name, (moment, moment))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"]
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    subprocess.run(command, cwd=tree, check=True, capture_output=True, env=environment)
    (wheel,) = (tree / "out").glob("*.whl")
    return wheel


def test_the_wheel_is_the_same_everywhere(tmp_path: Path) -> None:
    here, there = built(tmp_path / "a", 1_500_000_000), built(tmp_path / "elsewhere/b", 1_600_000_000)
    assert here.read_bytes() == there.read_bytes()
    ours = {name.removeprefix("src/") for name in tracked() if name.startswith("src/clew/")}
    with zipfile.ZipFile(here) as wheel:
        inside = {name for name in wheel.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    assert inside - ours == GENERATED
    assert ours - inside == set()
