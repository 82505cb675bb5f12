"""What a run of tests that was killed has left stops no later run.

Pytest removes the folders of all runs but the last three when one ends. A namespace that is still mounted in such a
folder refused that, and of it the later run failed as a whole, with no word of its own tests.
"""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clew.kernel import netns

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
QUICK = "tests/unit/cluster/runtime/test_records.py"


def test_a_run_ends_well_beside_folders_that_cannot_be_removed(tmp_path: Path) -> None:
    runs = tmp_path / f"pytest-of-{getpass.getuser()}"
    for number in range(4):
        (runs / f"pytest-{number}").mkdir(parents=True)
    runs.chmod(0o700)
    netns.create(runs / "pytest-0" / "left")
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", QUICK]
        environment = {**os.environ, "PYTEST_DEBUG_TEMPROOT": str(tmp_path)}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert " passed" in done.stdout
        (left,) = tmp_path.glob("pytest-of-*/*/left")
        assert netns.pinned(left), "it was in the way"
    finally:
        for left in tmp_path.glob("pytest-of-*/*/left"):
            netns.delete(left)
