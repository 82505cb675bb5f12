"""One suite on the fake and on the real ipset, the latter in a network namespace of the test's own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.kernel import netns
from clew.kernel.ipset import FakeIpSets, IpSets, KernelIpSets


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def ipsets(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IpSets]:
    if request.param == "fake":
        yield FakeIpSets()
        return
    path = tmp_path / f"ipset-{os.getpid()}"
    netns.create(path)
    try:
        port = KernelIpSets(path)
        yield port
        port.close()
    finally:
        netns.delete(path)
