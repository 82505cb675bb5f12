"""A socket that only root may connect to: asked as somebody else, whatever the process's umask is."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from clew.kernel import private_socket

NOBODY = 65534
CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


@pytest.fixture
def place() -> Iterator[Path]:
    """A path that everybody may reach."""
    before = os.umask(0)
    try:
        with TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            yield Path(folder, "socket")
    finally:
        os.umask(before)


def test_only_root_connects(place: Path) -> None:
    with private_socket.listen(place) as listener:
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        command = ["/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable, "-c", CONNECT, place]
        refused = subprocess.run(command, user=NOBODY, group=NOBODY, capture_output=True, text=True, check=False)
        assert "PermissionError" in refused.stderr
        with socket.socket(socket.AF_UNIX) as root:
            root.connect(str(place))
            listener.accept()[0].close()


def test_a_former_programs_socket_makes_way(place: Path) -> None:
    with private_socket.listen(place), private_socket.listen(place), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place))


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        private_socket.listen(tmp_path / "file" / "socket")
