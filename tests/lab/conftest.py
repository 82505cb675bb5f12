"""One lab a process for all modules that type at a cluster, and each kubectl that types: the machine's own, the pinned.

Where both are the same version it is typed once, and the summary says so: nothing is left out in silence.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from .small_lab import SmallLab, small_lab
from .typing_user import User

PINNED = Path(sys.executable).parents[1] / "kubectl-pinned/bin/kubectl"


def version(kubectl: str) -> str:
    """`1.37.1` of one kubectl; a test run without kubectl must not look green."""
    said = subprocess.run([kubectl, "version", "--client"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Client Version: v(\d+\.\d+\.\d+)", said)
    assert found, said
    return found[1]


def kubectls() -> dict[str, str]:
    """Version → program; the pinned one is installed by `scripts/install tests`."""
    found = {}
    beside = Path(sys.executable).with_name("kubectl")  # where the machine had none, it came with the environment
    for program in (shutil.which("kubectl"), str(beside), str(PINNED)):
        if program and Path(program).exists():
            found.setdefault(version(program), program)
    return found


KUBECTLS = kubectls()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kubectl" in metafunc.fixturenames:
        programs = KUBECTLS or {"none": ""}
        if getattr(metafunc.module, "ONE_KUBECTL", False):  # a module that is not about kubectl's own ways
            programs = dict(list(programs.items())[:1])
        metafunc.parametrize("kubectl", list(programs.values()), ids=list(programs), scope="module", indirect=True)


# What takes longest, first: whoever is done early takes what is left. The rest comes by name.
LONGEST = (
    "test_networks", "test_conformance_services", "test_walkthrough", "test_pools", "test_examples", "test_pods",
    "test_verbs_rollout", "test_dns_fast_path",
)  # fmt: skip
# These do all they do once more with the first parameter's next value: a lab of their own each time, or a namespace.
ANEW = re.compile(r"(test_verbs_\w+|test_walkthrough|test_dns_fast_path)\.py::\w+\[([\w.]+)")


class Turns(LoadScopeScheduling):
    """What processes share out among themselves (`-n 2`): modules, or a module's turns."""

    def _split_scope(self, nodeid: str) -> str:
        found = ANEW.search(nodeid)
        return f"{found[1]} {found[2]}" if found else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Turns:
    return Turns(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"typed with kubectl {' and '.join(KUBECTLS) or 'none: there is none'}")


@pytest.fixture(scope="module")
def kubectl(request: pytest.FixtureRequest) -> str:
    """One kubectl program after the other."""
    program: str = request.param
    assert program, "no kubectl on PATH and none at .venv/kubectl-pinned: run scripts/install tests"
    return program


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    """Three nodes, up until the last module has typed."""
    with small_lab(f"typed{os.getpid()}", tmp_path_factory.mktemp("typed")) as lab:
        yield lab


@pytest.fixture(scope="module")
def user(lab: SmallLab, kubectl: str, request: pytest.FixtureRequest) -> Iterator[User]:
    """Somebody with a namespace of their own, their context set to it; all they made goes with it."""
    module = request.module.__name__.rpartition("test_")[2].replace("_", "-")
    name = f"{module}-{version(kubectl).replace('.', '-')}"
    someone = User(lab, kubectl, name)
    someone.says(f"create namespace {name}")
    someone.says(f"config set-context --current --namespace={name}")
    try:
        yield someone
    finally:
        someone.types("delete pods --all --now --wait=false")  # most programs here are deaf to SIGTERM as process 1
        gone = someone.types(f"delete namespace {name} --timeout=60s")
    assert gone.returncode == 0, gone.stderr
