"""What plain names of iptables mean on a lab's node: what its agent takes, where the machine has both kinds."""

from pathlib import Path

import pytest

from clew.kernel.iptables import alternatives


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with links as Debian has them, legacy programs but for one, and their tables in the kernel."""
    monkeypatch.setattr(alternatives, "FOLDER", tmp_path / "alternatives")
    monkeypatch.setattr(alternatives, "PROGRAMS", tmp_path / "sbin")
    monkeypatch.setattr(alternatives, "TABLES", tmp_path / "ip_tables_names")
    monkeypatch.setattr("clew.kernel.modules.loadable", lambda name: name == "iptable_nat")
    for name in ("alternatives", "sbin"):
        (tmp_path / name).mkdir()
    for word in alternatives.WORDS:
        (tmp_path / "alternatives" / word).symlink_to(f"/usr/sbin/{word.replace('tables', 'tables-nft')}")
        if word != "ip6tables-restore":
            (tmp_path / "sbin" / word.replace("tables", "tables-legacy")).touch()
    return tmp_path


def test_plain_names_mean_the_legacy_programs_that_are_there(machine: Path) -> None:
    found = alternatives.legacy()
    assert found[f"{machine}/alternatives/iptables-save"] == f"{machine}/sbin/iptables-legacy-save"
    assert found[f"{machine}/alternatives/ip6tables"] == f"{machine}/sbin/ip6tables-legacy"
    assert len(found) == 5, "ip6tables-restore keeps what it means"


def test_a_machine_without_such_links_keeps_its_names(machine: Path) -> None:
    for link in (machine / "alternatives").iterdir():
        link.unlink()
        link.write_text("a program of its own", encoding="utf-8")
    assert alternatives.legacy() == {}


def test_a_kernel_without_the_tables(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.kernel.modules.loadable", lambda _name: False)
    assert alternatives.legacy() == {}
    (machine / "ip_tables_names").touch()
    assert len(alternatives.legacy()) == 5
