"""One suite on the fake and on the real programs of both kinds, in a network namespace of the test's own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.kernel import netns
from clew.kernel.iptables import FakeIptables, Iptables, KernelIptables

REAL = [pytest.param(kind, marks=pytest.mark.root) for kind in ("legacy", "nft")]


@pytest.fixture(params=["fake", *REAL])
def iptables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Iptables]:
    if request.param == "fake":
        yield FakeIptables(lambda: ())
        return
    path = tmp_path / f"iptables-{os.getpid()}"
    netns.create(path)
    try:
        yield KernelIptables(path, request.param)
    finally:
        netns.delete(path)
