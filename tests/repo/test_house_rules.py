"""House rules that a machine can hold: sizes, names, complete folders, no traces of somebody's machine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src/clew").rglob("*.py"))
TRACKED = [
    ROOT / name
    for name in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
]


PROGRAMS = sorted((ROOT / "bpf").glob("*.[ch]"))


def test_modules_are_small() -> None:
    large = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in (*SOURCES, *PROGRAMS)}
    assert {name: lines for name, lines in large.items() if lines > 400} == {}


def test_names_say_something() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc)(_|$)")
    field_managers = ROOT / "src/clew/api/apply/managers.py"  # Kubernetes' own word for who owns fields
    named = [path for path in SOURCES if path != field_managers]
    assert [str(path) for path in named if vague.search(path.stem) or vague.search(path.parent.name)] == []


def test_nothing_is_left_open() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX)\b")
    assert [str(path) for path in SOURCES if mark.search(path.read_text())] == []


def test_no_paths_of_somebodys_machine() -> None:
    foreign = re.compile("/" + "work/|/root/" + r"\.pyenv")
    found = []
    for path in TRACKED:
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".yaml", ".sh", ""}:
            text = path.read_text(errors="replace")
            found += [str(path.relative_to(ROOT))] if foreign.search(text) else []
    assert found == []


BACKENDS = [path for path in (ROOT / "src/clew/dataplane").iterdir() if (path / "__init__.py").exists()]


@pytest.mark.parametrize("folder", BACKENDS, ids=lambda path: path.name)
def test_a_backend_says_what_it_is(folder: Path) -> None:
    assert (folder / "README.md").exists() or (folder / "__init__.py").read_text().startswith('"""')


PLUGINS = [path for path in (ROOT / "src/clew/servers/dns/plugins").iterdir() if (path / "__init__.py").exists()]


def test_every_dns_plugin_is_in_the_list() -> None:
    source = (ROOT / "src/clew/servers/dns/plugins/__init__.py").read_text()
    assert {path.name for path in PLUGINS} == set(re.findall(r'^    \("(\w+)", \w+\.setup\)', source, re.MULTILINE))


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_a_dns_plugin_has_its_page(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert found[:4] == [folder.name, "Name", "Description", "Syntax"]
    assert "Examples" in found
    assert f"*{folder.name}* - " in text


def test_the_import_of_a_pure_room_is_cheap() -> None:
    """Facts and ir must not drag in a server or a kernel: an import linter sees modules, this sees what they load."""
    code = "import sys, clew.facts.service, clew.ir.names; print('aiohttp' in sys.modules, 'asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.stem)
def test_the_tests_that_a_page_names_are_there(page: Path) -> None:
    known = {path.name for path in (ROOT / "tests").rglob("*") if path.suffix in {".py", ".md"}}
    named = set(re.findall(r"`[\w/.-]*?([\w-]+\.(?:py|md))`", page.read_text()))
    tests = {name for name in named if name.startswith("test_")}
    assert tests <= known


def test_every_benchmark_is_on_its_page() -> None:
    page = (ROOT / "docs/bench.md").read_text()
    names = [path.stem for path in (ROOT / "bench").glob("*.py") if "\ndef figures(" in path.read_text()]
    assert names
    assert [name for name in names if f"| `{name}` |" not in page] == []
