"""Every file of examples/, applied and then typed at as its own first lines say; what they promise has to appear."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .small_lab import SmallLab, eventually
from .typing_user import User

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
MANIFESTS = [path for path in EXAMPLES if "kind: Lab\n" not in path.read_text()]
ONE_KUBECTL = True
LABS = [path for path in EXAMPLES if path not in MANIFESTS]

pytestmark = pytest.mark.root


def steps(example: Path) -> list[tuple[str, list[str]]]:
    """Its commands, each with the lines that it promises: `# $ COMMAND`, then `#   LINE` in which `…` is anything."""
    found: list[tuple[str, list[str]]] = []
    for line in example.read_text().splitlines():
        if line.startswith("# $ "):
            found.append((line[4:], []))
        elif line.startswith("#   "):
            found[-1][1].append(line[4:])
        elif not line.startswith("#"):
            break
    return found


def missing(promised: list[str], printed: str) -> list[str]:
    """The promised lines that no printed line contains; runs of blanks count as one."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    patterns = {line: re.escape(" ".join(line.split())).replace("…", ".*") for line in promised}
    return [line for line, pattern in patterns.items() if not any(re.search(pattern, each) for each in lines)]


def play(example: Path, environment: dict[str, str]) -> None:
    """A command is typed again for a while: a reader too would look twice at what is still becoming."""
    assert steps(example), f"{example.name} says nothing to type"
    for command, promised in steps(example):
        seen = [""]

        def kept(command: str = command, promised: list[str] = promised, seen: list[str] = seen) -> bool:
            done = subprocess.run(
                ["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False,
                cwd=ROOT, env=environment,
            )  # fmt: skip
            seen[0] = f"$ {command}\n{done.stdout}{done.stderr}[{done.returncode}]"
            return done.returncode == 0 and not missing(promised, done.stdout)

        try:
            eventually(kept, 20)
        except AssertionError:
            raise AssertionError(f"{seen[0]}\n{example.name} promises: {promised}") from None


@pytest.mark.parametrize("example", MANIFESTS, ids=lambda path: path.stem)
def test_an_example_does_what_it_says(user: User, example: Path) -> None:
    user.says(f"apply -f {example}")
    try:
        play(example, user.environment)
    finally:
        user.types("delete pods --all --now --wait=false")
        user.says(f"delete -f {example} --ignore-not-found --timeout=60s")


@pytest.mark.parametrize("example", LABS, ids=lambda path: path.stem)
def test_a_labs_file_makes_the_lab_it_describes(lab: SmallLab, tmp_path: Path, example: Path) -> None:
    """Under a name of the test's own: somebody may run the example beside it."""
    mine = tmp_path / "examples"
    mine.mkdir()
    name = f"{steps(example)[0][0].partition('--name ')[2].split()[0]}{os.getpid()}"
    text = example.read_text()
    for command, _ in steps(example):
        text = text.replace(command, re.sub(r"--name \S+", f"--name {name}", command).replace("examples/", f"{mine}/"))
    (mine / example.name).write_text(text)
    environment = {**lab.environment, "KUBECONFIG": str(tmp_path / "config"), "HOME": str(tmp_path)}
    try:
        play(mine / example.name, environment)
    finally:
        subprocess.run(["clew", "down", "--name", name], env=environment, check=True, timeout=120)


def test_every_example_is_in_the_table() -> None:
    named = set(re.findall(r"\]\(([\w-]+\.yaml)\)", (ROOT / "examples/README.md").read_text()))
    assert named == {path.name for path in EXAMPLES}


def test_clew_and_kubectl_are_what_the_examples_type(user: User) -> None:
    for program in ("clew", "kubectl"):
        assert shutil.which(program, path=user.environment["PATH"]), program
