"""Echoes of a size: on a made-up path, and between three namespaces of which the middle one routes."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from clew.kernel import netns
from clew.kernel.echo import Echo, FakeEcho, KernelEcho, Reply
from clew.kernel.netlink import Add, Address, Link, Netlink, Peer, Route, SetLink, Veth
from clew.kernel.sysctl import Sysctl

SECONDS = 30.0  # that an answer may take at most
FOUR, SIX = ("10.1.0.2", "10.2.0.1"), ("fd00:1::2", "fd00:2::1")


class Path3(NamedTuple):
    """An asker, and a host that it reaches over a link of 1500 bytes and one of 1400."""

    echo: Echo
    near: str
    far: str


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[4, 6])
async def path(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> AsyncIterator[Path3]:
    near, far = FOUR if request.param == 4 else SIX
    if kind == "fake":
        yield Path3(FakeEcho({near: 1500, far: 1400}), near, far)
        return
    spaces = [tmp_path / name for name in ("asker", "router", "host")]
    for each in spaces:
        netns.create(each)
    try:
        _wire(*spaces, six=request.param == 6)
        echo = KernelEcho(spaces[0])
        yield Path3(echo, near, far)
        echo.close()
    finally:
        for each in spaces:
            netns.delete(each)


def _wire(asker: Path, router: Path, host: Path, *, six: bool) -> None:
    addresses = [f"fd00:{n}::{h}/64" if six else f"10.{n}.0.{h}/24" for n in (1, 2) for h in (1, 2)]
    everywhere = "::/0" if six else "0.0.0.0/0"
    with Netlink(router) as middle, Netlink(asker) as left, Netlink(host) as right:
        for dev, there, mtu in (("left", asker, 1500), ("right", host, 1400)):
            fd = os.open(there, os.O_RDONLY)
            middle.request([Add(Link(dev, Veth(Peer("eth0", fd, mtu=mtu)), up=True, mtu=mtu))])
            os.close(fd)
        for kernel, at, address in ((left, "eth0", addresses[0]), (middle, "left", addresses[1]),
                                    (middle, "right", addresses[3]), (right, "eth0", addresses[2])):  # fmt: skip
            kernel.request([SetLink("lo", up=True), SetLink(at, up=True), Add(Address(address, at, nodad=True))])
        left.request([Add(Route(everywhere, via=addresses[1].partition("/")[0]))])
        right.request([Add(Route(everywhere, via=addresses[3].partition("/")[0]))])
    Sysctl(router).write({"net.ipv6.conf.all.forwarding" if six else "net.ipv4.ip_forward": 1})


async def test_what_fits_comes_back_and_a_router_tells_of_its_narrow_link(path: Path3) -> None:
    for _ in range(60):  # new links of IPv6 take a second until they forward
        if await path.echo.ask(path.far, 1300, SECONDS / 60) == Reply(came=True):
            break
    assert await path.echo.ask(path.near, 1500, SECONDS) == Reply(came=True)
    assert await path.echo.ask(path.far, 1400, SECONDS) == Reply(came=True)
    for _ in range(2):  # the kernel's own memory of it is passed over
        assert await path.echo.ask(path.far, 1401, SECONDS) == Reply(came=False, mtu=1400)
    assert await path.echo.ask(path.far, 1500, SECONDS) == Reply(came=False, mtu=1400)


async def test_who_is_not_there_does_not_answer(path: Path3) -> None:
    nobody = path.near + "2"
    assert await path.echo.ask(nobody, 600, 0.05) == Reply(came=False)


async def test_an_answer_that_a_busy_machine_reads_late_counts(path: Path3, kind: str) -> None:
    if kind == "fake":
        assert await path.echo.ask(path.near, 600, 0.0) == Reply(came=True)
        return
    await path.echo.ask(path.near, 600, SECONDS)  # so that neighbours know each other
    asking = asyncio.ensure_future(path.echo.ask(path.near, 600, 0.05))
    await asyncio.sleep(0)  # it is on its way, and the loop does not turn for as long as it is waited for
    threading.Event().wait(0.2)
    assert await asking == Reply(came=True)
