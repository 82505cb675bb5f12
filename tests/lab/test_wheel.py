"""The wheel alone: built, installed into an empty virtual environment, and a lab brought up without the checkout."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from .small_lab import eventually

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.root


def run(*command: str, where: Path, seconds: float = 240, **environment: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, cwd=where, env=os.environ | environment
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it asks for, in the lock file's versions."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), where=ROOT)
    (wheel,) = folder.glob("clew-*.whl")
    pins = re.findall(r"^[\w.-]+==[\w.]+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    (folder / "pins").write_text("\n".join(pins))
    venv.create(folder / "env")
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "env"), "install", "--quiet")
    run(*pip, "--disable-pip-version-check", "-c", str(folder / "pins"), str(wheel), where=folder)
    return folder / "env"


def test_a_lab_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    name = f"wheel{os.getpid()}"
    kubectl = shutil.which("kubectl") or str(Path(sys.executable).with_name("kubectl"))
    environment = {
        "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "config"), "CLEW_NAME": name, "PYTHONPATH": "",
        "PATH": f"{installed}/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    }  # fmt: skip
    where = run(str(installed / "bin/python"), "-c", "import clew; print(clew.__file__)", where=tmp_path, **environment)
    assert Path(where.strip()).is_relative_to(installed)
    clew = str(installed / "bin/clew")
    try:
        run(clew, "up", "--nodes", "1", where=tmp_path, **environment)
        assert " Ready " in run(kubectl, "get", "nodes", where=tmp_path, **environment)
        run(kubectl, "create", "deployment", "web", "--image=nginx", where=tmp_path, **environment)
        run(kubectl, "rollout", "status", "deployment/web", "--timeout=60s", where=tmp_path, **environment)
        address = run(
            kubectl, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].status.podIP}",
            where=tmp_path, **environment,
        )  # fmt: skip
        curl = (clew, "node", "exec", "node-1", "--", "curl", "-s", "--retry", "5", "--retry-connrefused", address)
        eventually(lambda: "Welcome to nginx!" in run(*curl, where=tmp_path, **environment), 20)
    finally:
        run(clew, "down", where=tmp_path, **environment)
