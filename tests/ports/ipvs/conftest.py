"""One suite on the fake and on the real IPVS, the latter in a network namespace of the test's own.

The real half runs in the vm lane, whose kernel has IPVS; `CLEW_VM=guest` says that this is it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.kernel import netns
from clew.kernel.ipvs import FakeIpvs, Ipvs, KernelIpvs
from clew.kernel.netlink import Netlink
from clew.kernel.netlink.requests import SetLink

IN_GUEST = os.environ.get("CLEW_VM") == "guest"
HALVES = ["fake", pytest.param("real", marks=pytest.mark.root)] if IN_GUEST else ["fake"]


@pytest.fixture(params=HALVES)
def ipvs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ipvs]:
    if request.param == "fake":
        yield FakeIpvs()
        return
    path = tmp_path / f"ipvs-{os.getpid()}"
    netns.create(path)
    try:
        with Netlink(path) as kernel:
            kernel.request([SetLink("lo", up=True)])  # an IPv4 address is none to IPVS where nothing was ever routed
        port = KernelIpvs(path)
        port.load()
        yield port
        port.close()
    finally:
        netns.delete(path)
