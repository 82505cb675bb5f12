"""A folder whose files are replaced as Kubernetes, editors and shells do it."""

import errno
import select
from pathlib import Path

import pytest

from clew.kernel.errors import KernelError
from clew.kernel.file_changes import FolderWatch


def test_every_way_to_replace_a_file_is_heard_once(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path)

    def heard() -> bool:
        found = bool(select.select([watch], [], [], 0)[0])
        watch.drain()
        return found

    assert not heard()
    (tmp_path / "file").write_text("written in place")
    assert heard()
    (tmp_path / "new").write_text("renamed over it")
    watch.drain()
    (tmp_path / "new").rename(tmp_path / "file")
    assert heard()
    for number in (1, 2):  # a ConfigMap's volume: one symlink leads to the folder with all files
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / "..tmp").symlink_to(f"..{number}")
        watch.drain()
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        assert heard()
    (tmp_path / "file").unlink()
    assert heard()
    assert not heard()
    watch.close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KernelError) as refused:
        FolderWatch(tmp_path / "none")
    assert refused.value.number == errno.ENOENT
