"""Paths that pods name, in folders that pods write to. Mounts are the port tests' matter."""

import os
import stat
from pathlib import Path

import pytest

from clew.cluster.runtime.supervisor.volumes import _open_below, host_path


def opened(root: Path, *parts: str) -> str:
    fd = _open_below(str(root), parts, "/".join(parts))
    try:
        return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - a text is wanted
    finally:
        os.close(fd)


def test_missing_folders_are_made_with_the_volumes_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    assert opened(tmp_path, "a", "b") == str(tmp_path / "a/b")
    assert [stat.S_IMODE((tmp_path / each).stat().st_mode) for each in ("a", "a/b")] == [0o2775, 0o2775]
    (tmp_path / "a").chmod(0o700)
    assert opened(tmp_path, "a", "b") == str(tmp_path / "a/b")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700  # what is there stays as it is
    assert opened(tmp_path) == str(tmp_path)


@pytest.mark.parametrize("parts", [("link",), ("link", "x"), ("in", "link", "x")])
def test_a_link_that_came_in_between_is_not_followed(tmp_path: Path, parts: tuple[str, ...]) -> None:
    """A container swapped a folder for a link after it was checked: the missing rest was made on the node."""
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    (volume / "in").mkdir(parents=True)
    outside.mkdir()
    for place in (volume / "link", volume / "in/link"):
        place.symlink_to(outside)
    with pytest.raises(OSError, match="leads out of its volume"):
        opened(volume, *parts)
    assert not list(outside.iterdir())


def test_a_file_in_the_way_is_an_error_and_the_last_part_may_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert opened(tmp_path, "file") == str(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        opened(tmp_path, "file", "below")


@pytest.mark.parametrize(
    ("kind", "there", "words"),
    [
        ("Directory", "file", "is not a directory"), ("File", "folder", "is not a file"),
        ("Socket", "file", "is not a socket file"), ("Directory", "nothing", "is not a directory"),
        ("File", "nothing", "is not a file"), ("CharDevice", "file", "is not a character device"),
    ],
)  # fmt: skip
def test_host_paths_are_checked_in_kubelets_words(tmp_path: Path, kind: str, there: str, words: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=words):
        host_path(str(tmp_path / there), kind)


@pytest.mark.parametrize(("kind", "made"), [("DirectoryOrCreate", "d"), ("FileOrCreate", "-"), ("", "d")])
def test_host_paths_are_made_where_that_is_asked_for(tmp_path: Path, kind: str, made: str) -> None:
    host_path(str(tmp_path / "new"), kind)
    host_path(str(tmp_path / "new"), kind)
    assert stat.filemode((tmp_path / "new").stat().st_mode)[0] == made
