"""The port to connection tracking, on the fake and on the kernel."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from clew.base.addresses import Family
from clew.kernel import netns
from clew.kernel.conntrack import Conntrack, FakeConntrack, Flow, KernelConntrack
from clew.kernel.netlink import Netlink
from clew.kernel.netlink.requests import Add, SetLink
from clew.kernel.netlink.values import Address
from clew.kernel.nft import KernelNft

TRACK = """add table {ip} t
add chain {ip} t out {{ type filter hook output priority 0; }}
add rule {ip} t out ct state new accept
add chain {ip} t nat {{ type nat hook output priority -100; }}
add rule {ip} t nat meta l4proto udp {ip} daddr {fake} dnat {ip} to {real}
"""
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
ADVERTISED = {4: "127.0.0.9", 6: "::9"}
SOCKETS = {4: socket.AF_INET, 6: socket.AF_INET6}


def flow(family: Family, protocol: str, port: int) -> Flow:
    """A connection from loopback to the advertised address, translated to loopback."""
    return msgspec.convert(
        {
            "family": family, "protocol": protocol, "source": LOOPBACK[family], "source_port": 4000,
            "destination": ADVERTISED[family], "destination_port": port,
            "reply_source": LOOPBACK[family], "reply_source_port": port, "id": port,
        },
        Flow,
    )  # fmt: skip


class Scene:
    """A port, and a way to make UDP connections that it sees."""

    def __init__(self, conntrack: Conntrack, ns: Path | None) -> None:
        self.conntrack = conntrack
        self._ns = ns

    def connect(self, family: Family, port: int) -> None:
        if isinstance(self.conntrack, FakeConntrack):
            self.conntrack.table.append(flow(family, "UDP", port))
            return
        assert self._ns is not None
        with netns.socket_in(self._ns, SOCKETS[family], socket.SOCK_DGRAM) as client:
            client.bind((LOOPBACK[family], 4000))
            client.sendto(b"?", (ADVERTISED[family], port))


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    if request.param == "fake":
        yield Scene(FakeConntrack(), None)
        return
    path = tmp_path / f"r7-ct-{os.getpid()}"
    netns.create(path)
    try:
        with Netlink(path) as kernel:
            kernel.request([SetLink("lo", up=True)])
            kernel.request([Add(Address("::9/128", "lo", nodad=True))])
        nft = KernelNft(path)
        for ip, family in (("ip", 4), ("ip6", 6)):
            nft.run(TRACK.format(ip=ip, fake=ADVERTISED[family], real=LOOPBACK[family]))
        nft.close()
        conntrack = KernelConntrack(path)
        yield Scene(conntrack, path)
        conntrack.close()
    finally:
        netns.delete(path)


def plain(flows: list[Flow]) -> set[Flow]:
    return {msgspec.structs.replace(each, id=0) for each in flows}


@pytest.mark.parametrize("family", [4, 6])
def test_a_flow_shows_both_of_its_sides(scene: Scene, family: Family) -> None:
    scene.connect(family, 5353)
    (found,) = scene.conntrack.flows(family, "UDP")
    assert plain([found]) == plain([flow(family, "UDP", 5353)])
    assert found.translated
    assert found.id


def test_families_and_protocols_are_told_apart(scene: Scene) -> None:
    scene.connect(4, 5353)
    scene.connect(6, 5354)
    assert {each.destination_port for each in scene.conntrack.flows(4, "UDP")} == {5353}
    assert {each.destination_port for each in scene.conntrack.flows(6, "UDP")} == {5354}
    assert scene.conntrack.flows(4, "TCP") == []


def test_a_deleted_flow_is_gone_and_others_stay(scene: Scene) -> None:
    for port in (5353, 5354, 5355):
        scene.connect(4, port)
    flows = scene.conntrack.flows(4, "UDP")
    gone = [each for each in flows if each.destination_port != 5354]
    assert scene.conntrack.delete(gone) == 2
    assert {each.destination_port for each in scene.conntrack.flows(4, "UDP")} == {5354}


def test_deleting_what_is_gone_already_is_fine(scene: Scene) -> None:
    scene.connect(4, 5353)
    flows = scene.conntrack.flows(4, "UDP")
    assert scene.conntrack.delete(flows) == 1
    assert scene.conntrack.delete(flows) == 0


def test_a_successor_with_the_same_ports_survives(scene: Scene) -> None:
    scene.connect(4, 5353)
    (old,) = scene.conntrack.flows(4, "UDP")
    assert scene.conntrack.delete([msgspec.structs.replace(old, id=old.id ^ 1)]) == 0
    assert len(scene.conntrack.flows(4, "UDP")) == 1
