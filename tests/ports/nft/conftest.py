"""One suite on the fake and on the real nftables, the latter in a network namespace of the test's own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.kernel import netns
from clew.kernel.nft import FakeNft, KernelNft, Nft


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def nft(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nft]:
    if request.param == "fake":
        yield FakeNft()
        return
    path = tmp_path / f"r7-nft-{os.getpid()}"
    netns.create(path)
    try:
        port = KernelNft(path)
        yield port
        port.close()
    finally:
        netns.delete(path)
