"""One suite on the fake and on the real XFRM, the latter in a network namespace of the test's own.

States need a kernel with ESP: their real half runs in the vm lane (`CLEW_VM=guest` says that this is it). Policies are
tried wherever the kernel has XFRM.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.kernel import netns
from clew.kernel.xfrm import FakeXfrm, KernelXfrm, Xfrm

IN_GUEST = os.environ.get("CLEW_VM") == "guest"
REAL = pytest.param("real", marks=pytest.mark.root)


def made(kind: str, folder: Path) -> Iterator[Xfrm]:
    if kind == "fake":
        yield FakeXfrm()
        return
    path = folder / f"xfrm-{os.getpid()}"
    netns.create(path)
    try:
        port = KernelXfrm(path)
        yield port
        port.close()
    finally:
        netns.delete(path)


@pytest.fixture(params=["fake", REAL])
def xfrm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Xfrm]:
    """Of any kernel that has XFRM."""
    yield from made(request.param, tmp_path)


@pytest.fixture(params=["fake", REAL] if IN_GUEST else ["fake"])
def esp(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Xfrm]:
    """Of one that has ESP."""
    yield from made(request.param, tmp_path)
