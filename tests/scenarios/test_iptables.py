"""What only iptables has to keep: its text is read back as it was written, by both kinds of its programs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.dataplane.iptables import apply
from clew.dataplane.iptables.apply import Backend
from clew.kernel import netns
from clew.kernel.iptables import KernelIptables
from clew.kernel.iptables.real import KINDS, Kind
from clew.kernel.sysctl import FakeSysctl

from .page import sections
from .simulated import compiled, family_settings

pytestmark = pytest.mark.root
SECTIONS = [section for path in sorted(Path(__file__).parent.glob("*.md")) for section in sections(path)]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("iptables") / f"iptables-{os.getpid()}"
    netns.create(path)
    try:
        yield path
    finally:
        netns.delete(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_successor_finds_every_page_as_it_was_written(where: Path, kind: Kind) -> None:
    """A rule that is printed otherwise than it was written would be written again at each start and each look."""
    for section in SECTIONS:
        changes = {key: each.balancers for key, each in compiled(section, "node-1").items()}
        for family in (4, 6):
            settings = family_settings(section, "node-1", family)
            first = Backend(KernelIptables(where, kind), settings, FakeSysctl())
            first.sync(changes)
            successor = Backend(KernelIptables(where, kind), settings, FakeSysctl())
            assert not successor.sync(changes), f"{section} IPv{family}"
    for family in (4, 6):
        last = Backend(KernelIptables(where, kind), family_settings(SECTIONS[0], "node-1", family), FakeSysctl())
        last.remove()
        assert all("KUBE" not in KernelIptables(where, kind).save(last.settings.family, table) for table in TABLES)


TABLES = ("mangle", "filter", "nat")


def test_what_is_missing_is_named(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert apply.missing(where) == ""
    monkeypatch.setattr("clew.kernel.iptables.real.PATH", "/nowhere")
    assert "install the package iptables" in apply.missing(where)
    monkeypatch.undo()
    monkeypatch.setattr(apply, "PROBE", apply.PROBE.replace("-m recent", "-m unheard-of"))
    assert "unheard-of" in apply.missing(where)
