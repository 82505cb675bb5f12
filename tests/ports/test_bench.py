"""Every benchmark runs, at a thousandth of its size: what only runs on demand rots unseen. As root, in namespaces."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench.figures import modules

ROOT = Path(__file__).parents[2]
SECONDS = 240


# What boots a kernel of its own is tried in the vm lane.
HERE = [name for name in modules() if "in_guest" not in (ROOT / "bench" / f"{name}.py").read_text()]


@pytest.mark.parametrize("name", HERE)
def test_a_benchmark_measures_something(name: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "bench", "--only", name, "--scale", "0.001", "--json", report]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-4000:]
    (found,) = json.loads(report.read_text())["benchmarks"]
    assert found["about"]
    assert found["figures"]
    assert all(figure["value"] >= 0 for figure in found["figures"])
    assert f"### {name}" in done.stdout


def test_a_benchmark_beyond_its_limit_is_stopped(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "bench", "--only", "services", "--seconds", "2", "--json", report]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 1
    assert json.loads(report.read_text())["benchmarks"][0]["problem"] == "stopped after 2 s"
