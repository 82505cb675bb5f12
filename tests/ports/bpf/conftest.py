"""An object compiled for these tests: what the loader takes does not depend on which programs Clew has."""

import platform
import subprocess
from pathlib import Path

import pytest

from clew.kernel import bpf


def compile_object(source: Path, target: Path) -> bytes:
    include = f"-I/usr/include/{platform.machine()}-linux-gnu"
    command = ["clang", "-O2", "-g", "-target", "bpf", include, "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True)
    return target.read_bytes()


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> bpf.Image:
    """probe.bpf.c beside this file."""
    target = tmp_path_factory.mktemp("bpf") / "probe.bpf.o"
    return bpf.parse("probe", compile_object(Path(__file__).with_name("probe.bpf.c"), target))
