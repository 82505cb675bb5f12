from pathlib import Path

import pytest

from clew.cluster.runtime.supervisor.records import Records


def test_records_are_found_again_and_what_was_never_told_of_is_not(tmp_path: Path) -> None:
    records = Records(tmp_path / "r")
    records.save("a", {"id": "a", "code": 1})
    records.save("a", {"id": "a", "code": 2})
    records.save("b", {"id": "b"})
    records.folder("begun").mkdir()
    (records.folder("begun") / "rootfs").mkdir()
    (records.folder("torn")).mkdir()
    (records.folder("torn") / "record.json").write_text('{"id": "to')
    records.drop("b")
    again = Records(tmp_path / "r")
    assert again.load() == {"a": {"id": "a", "code": 2}}
    assert [folder.name for folder in (tmp_path / "r").iterdir()] == ["a"]


def test_what_is_dropped_leaves_its_name_at_once(tmp_path: Path) -> None:
    """Deleting is left to a process beside the node: until it came to its end, the old files stood under the name."""
    records = Records(tmp_path / "r")
    records.save("a", {"id": "a", "code": 1})
    (records.folder("a") / "upper").mkdir()
    first = records.drop("a")
    assert first is not None
    assert (first / "upper").is_dir()
    assert not records.folder("a").exists()
    records.save("a", {"id": "a", "code": 2})
    second = records.drop("a")
    assert second not in (None, first)
    assert records.drop("a") is None
    assert Records(tmp_path / "r").load() == {}
    assert list((tmp_path / "r").iterdir()) == []


def test_what_a_container_needs_no_more_is_out_of_the_way_of_the_next_one_of_its_name(tmp_path: Path) -> None:
    """Deleted in place by a process beside, it could take the files of a container that came under the same name."""
    records = Records(tmp_path / "r")
    records.save("a", {"id": "a"})
    (records.folder("a") / "upper").mkdir()
    (records.folder("a") / "pid").write_text("7")
    aside = records.clear("a", ("upper", "work", "pid"))
    assert sorted(path.name for path in aside.iterdir()) == ["pid", "upper"]
    assert [path.name for path in records.folder("a").iterdir()] == ["record.json"]
    assert Records(tmp_path / "r").load() == {"a": {"id": "a"}}
    assert not aside.exists()


def test_a_disk_that_refuses_stops_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A container's end was never told, since writing it down failed: its pod ran on for ever."""
    records = Records(tmp_path / "r")
    (tmp_path / "r").rmdir()
    (tmp_path / "r").write_text("in the way")
    records.save("a", {"id": "a"})
    assert "record a is not on the disk: Not a directory" in capfd.readouterr().err
