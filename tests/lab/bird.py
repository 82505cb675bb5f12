"""The program bird among those that a lab's nodes see, for as long as tests want it there.

Its package is unpacked and never installed, since that would start a daemon; so the program and the one library that
it lacks go into the environment that Clew runs in.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.packages import unpacked

ENVIRONMENT = Path(sys.prefix)
LAUNCHER = """#!/bin/sh
LD_LIBRARY_PATH={folder} exec {folder}/{name} "$@"
"""


@contextmanager
def bird_at_hand() -> Iterator[None]:
    folder = ENVIRONMENT / "bird"
    programs = [ENVIRONMENT / "bin" / name for name in ("bird", "birdc")]
    try:
        folder.mkdir(exist_ok=True)
        for file in unpacked("libssh-gcrypt-4").glob("usr/lib/*/libssh-gcrypt.so.4"):
            shutil.copy(file, folder)
        for program in programs:
            shutil.copy(unpacked("bird2") / "usr/sbin" / program.name, folder)
            program.write_text(LAUNCHER.format(folder=folder, name=program.name))
            program.chmod(0o755)
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for program in programs:
            program.unlink(missing_ok=True)
