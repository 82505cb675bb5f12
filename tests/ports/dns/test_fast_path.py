"""The BPF program that answers DNS at a pod's link: the same answers as the server's, in whole and right packets.

Frames are handed to it (BPF_PROG_TEST_RUN), and real clients ask through a veth pair. The questions and what a server
says to them are those of tests/unit/servers/dns.
"""

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.servers.dns.test_fast_path import ANSWERED, ZONE, knowledge, queries, query, served
from tests.unit.servers.dns.test_specification import COREFILE, NAMESPACES, SERVICES, SLICES, rows
from tests.unit.servers.dns.world import Cluster, Running, running

from clew.app.dns import Program
from clew.dataplane.dns_fast_path import render
from clew.dataplane.dns_fast_path.apply import FastPathPlane
from clew.dataplane.dns_fast_path.objects import DIRECTION, PRIORITY, Outcome
from clew.dataplane.dns_fast_path.simulate import Knowledge, decide
from clew.ir.names import NameServer
from clew.kernel import bpf, netns
from clew.kernel.netlink import Add, Link, Netlink, Peer, Veth
from clew.kernel.netlink.values import Filter

from .frames import CLIENT, GATEWAY, Datagram, frame, opened, pseudo, summed

pytestmark = pytest.mark.root
__all__ = ["running"]

REDIRECT, PASS = 7, 0xFFFFFFFF
VIPS = {4: "10.96.0.10", 6: "fd00:96::a"}
PODS = {4: "10.244.1.5", 6: "fd00:244::5"}
SERVERS = [render.server(NameServer(each, 53, "Service kube-system/kube-dns")) for each in VIPS.values()]


@pytest.fixture
def plane() -> Iterator[FastPathPlane]:
    """With nowhere to be attached: it lives as long as its descriptors."""
    with Netlink() as kernel:
        made = FastPathPlane(kernel)
        yield made
        made.want_zone(None)
        made.want_links(())
        made.sync(0, 0)


def soon(seconds: float = 600) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)


def fill(plane: FastPathPlane, known: Knowledge, until: int | None = None) -> bpf.Program:
    plane.want_zone(known.zone, known.names.values())
    plane.want_servers(SERVERS)
    plane.sync(soon() if until is None else until, known.serial)
    assert plane._loaded is not None
    return plane._loaded.programs["dns"]


def known_of(program: Program) -> Knowledge:
    Cluster(program).has(namespaces=NAMESPACES, services=SERVICES, slices=SLICES)
    return knowledge(program)


def ask(program: bpf.Program, raw: bytes, version: int = 4, check: int | None = None) -> bytes:
    """The answer, its packet looked at from end to end; empty where the question passed on as it was."""
    sent = Datagram(PODS[version], VIPS[version], raw, check=check)
    done = program.test_run(frame(sent))
    if done.verdict == PASS:
        assert done.packet == frame(sent)
        return b""
    assert done.verdict == REDIRECT
    assert done.packet[:12] == CLIENT + GATEWAY
    found = opened(done.packet)
    back = Datagram(sent.target, sent.source, found.data, 53, 40_000)
    assert frame(back)[-8 - len(found.data) :] == done.packet[-8 - len(found.data) :] or check == 0
    assert (found.source, found.target, found.source_port, found.target_port) == (*_ends(back), 53, 40_000)
    if check == 0:
        assert found.check == 0
    return found.data


def _ends(datagram: Datagram) -> tuple[str, str]:
    return datagram.source, datagram.target


@pytest.mark.parametrize("version", [4, 6])
async def test_the_specifications_table(running: Running, plane: FastPathPlane, version: int) -> None:
    async with running(COREFILE) as (program, _):
        fast = fill(plane, known_of(program))
        answered = set()
        for name, kind, _expected in rows():
            answer = ask(fast, query(name, kind), version)
            if answer:
                answered.add(f"{name} {kind}")
                assert ask(fast, (raw := query(name, kind, use_edns=-1)), version) == served(program, raw)
                raw = query(name, kind, want_dnssec=True)
                assert ask(fast, raw, version) == served(program, raw)
        assert answered == set(ANSWERED)


async def test_whatever_is_asked_the_program_does_what_was_simulated(running: Running, plane: FastPathPlane) -> None:
    """And what is simulated is what the server says (tests/unit/servers/dns/test_fast_path.py)."""
    async with running(COREFILE) as (program, _):
        known = known_of(program)
        fast = fill(plane, known)

        @settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
        @given(queries(), st.sampled_from((4, 6)))
        def hold(raw: bytes, version: int) -> None:
            answer = ask(fast, raw, version)
            assert answer.hex() == decide(known, raw).answer.hex()
            if answer:
                assert answer == served(program, raw)

        hold()
        counts = plane.counts()
        rare = {Outcome.UNSURE, Outcome.FAILED, Outcome.LONG}
        assert all(counts[each] for each in Outcome if each not in rare)
        assert counts[Outcome.FAILED] == 0


async def test_what_is_no_plain_packet_passes_on(running: Running, plane: FastPathPlane) -> None:
    async with running(COREFILE) as (program, _):
        fast = fill(plane, known_of(program))
    raw = query("web.shop.svc.cluster.local.")
    assert ask(fast, raw, 4, check=0), "an IPv4 datagram needs no sum, and its answer has none"
    assert not ask(fast, raw, 6, check=0), "an IPv6 datagram needs one (RFC 8200 section 8.1)"
    whole = frame(Datagram(PODS[4], VIPS[4], raw))
    others = {
        "a fragment": whole[:20] + b"\x20\x00" + whole[22:],
        "a later fragment": whole[:20] + b"\x00\x10" + whole[22:],
        "with IP options": whole[:14] + b"\x46" + whole[15:34] + bytes(4) + whole[34:],
        "cut": whole[:-3],
        "padded": whole + b"\0\0\0",
        "to another port": frame(Datagram(PODS[4], VIPS[4], raw, target_port=54)),
        "to another address": frame(Datagram(PODS[4], "10.96.0.11", raw)),
        "TCP": whole[:23] + b"\x06" + whole[24:],
        "ARP": whole[:12] + b"\x08\x06" + whole[14:],
        "nothing but a header": frame(Datagram(PODS[4], VIPS[4], raw[:12])),
        "empty": frame(Datagram(PODS[4], VIPS[4], b"")),
        "huge": frame(Datagram(PODS[4], VIPS[4], raw + bytes(1200))),
    }
    for what, packet in others.items():
        done = fast.test_run(packet)
        assert (done.verdict, done.packet) == (PASS, packet), what


async def test_nothing_is_answered_when_the_agent_is_not_sure(running: Running, plane: FastPathPlane) -> None:
    async with running(COREFILE) as (program, _):
        known = known_of(program)
    raw = query("nothere.shop.svc.cluster.local.")
    fast = fill(plane, known, until=0)
    assert not ask(fast, raw)
    plane.sync(soon(), known.serial)
    assert ask(fast, raw)
    plane.sync(soon(0.05), known.serial)
    deadline = time.monotonic() + 30
    while ask(fast, raw):
        assert time.monotonic() < deadline, "an agent that is gone says no more that it is sure"
    assert plane.counts()[Outcome.UNSURE] >= 2


async def test_a_change_is_in_the_next_answer(running: Running, plane: FastPathPlane) -> None:
    async with running(COREFILE) as (program, _):
        known = known_of(program)
    fast = fill(plane, known)
    raw = query("web.shop.svc.cluster.local.")
    assert ask(fast, raw)[-15:-11] == bytes((10, 96, 0, 7))
    plane.want_name(b"\3web\4shop\3svc", None)
    plane.sync(soon(), 77)
    gone = ask(fast, raw)
    assert gone[3] & 15 == 3
    assert struct.pack(">IIIII", 77, 7200, 1800, 86400, 30) in gone
    plane.want_name(b"\3web\4shop\3svc", known.names[b"\3web\4shop\3svc"])
    plane.sync(soon(), 78)
    assert ask(fast, raw)[-15:-11] == bytes((10, 96, 0, 7))
    before = plane.counts()[Outcome.ADDRESS]
    plane.want_zone(render.zone(ZONE.__class__("other.test", 9, "Corefile")), ())
    plane.sync(soon(), 79)
    assert plane._loaded is not None
    assert not ask(plane._loaded.programs["dns"], raw), "another zone now"
    assert plane.counts()[Outcome.ADDRESS] == before, "counts outlive the program"


class Pair:
    """A node's namespace with a pod's link, and the pod's."""

    def __init__(self, folder: Path) -> None:
        self.node, self.pod = folder / "node", folder / "pod"
        for each in (self.node, self.pod):
            netns.create(each)
        self.kernel = Netlink(self.node)

    def connect(self) -> None:
        other = os.open(self.node, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with Netlink(self.pod) as inside:
                inside.request([Add(Link("eth0", Veth(Peer("pod0", other)), up=True))])
        finally:
            os.close(other)
        self.run(self.node, "ip link set pod0 up")
        self.run(self.node, "ip link set lo up")
        for version, length, first in ((4, 24, "10.244.1.1"), (6, 64, "fd00:244::1")):
            nodad = " nodad" if version == 6 else ""
            self.run(self.node, f"ip address add {first}/{length} dev pod0{nodad}")
            self.run(self.node, f"ip address add {VIPS[version]} dev lo{nodad}")
            self.run(self.pod, f"ip address add {PODS[version]}/{length} dev eth0{nodad}")
            self.run(self.pod, f"ip -{version} route add default via {first}")

    def run(self, ns: Path, command: str) -> str:
        done = subprocess.run(
            ["nsenter", f"--net={ns}", *command.split()], capture_output=True, text=True, check=True, timeout=60,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        )  # fmt: skip
        return done.stdout

    def close(self) -> None:
        self.kernel.close()
        for each in (self.pod, self.node):
            netns.delete(each)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    try:
        made.connect()
        yield made
    finally:
        made.close()


def exchange(pair: Pair, version: int, raw: bytes, *, without_sum: bool = False) -> bytes:
    """What a pod's connected socket hears; so only an answer from the address that was asked counts."""
    kind = socket.AF_INET6 if version == 6 else socket.AF_INET
    with netns.socket_in(pair.pod, kind, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        if without_sum:
            client.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
        client.connect((VIPS[version], 53))
        client.send(raw)
        return client.recv(2048)


async def test_real_clients(running: Running, pair: Pair) -> None:
    """The table by sockets, and dig, in both families; what it does not know reaches the server."""
    plane = FastPathPlane(pair.kernel)
    with netns.socket_in(pair.node, socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((VIPS[4], 53))
        server.settimeout(30)
        async with running(COREFILE) as (program, _):
            known = known_of(program)
            plane.want_links(["pod0", "not-there-yet"])
            fill(plane, known)
            assert set(plane.links()) == {"pod0"}
            asked = [*(each.split() for each in ANSWERED), ["wEb.shop.svc.clusteR.local.", "A"]]
            for version in (4, 6):
                for name, kind in asked:
                    raw = query(name, kind)
                    assert exchange(pair, version, raw) == served(program, raw)
            raw = query("web.shop.svc.cluster.local.")
            assert exchange(pair, 4, raw, without_sum=True) == served(program, raw)
        for version in (4, 6):
            for question, expected in (("web A", "10.96.0.7"), ("web AAAA", "fd00:96::7"), ("nothere A", "")):
                name, kind = question.split()
                asked = f"dig +short +tries=1 +time=30 +nocookie @{VIPS[version]} {name}.shop.svc.cluster.local {kind}"
                assert pair.run(pair.pod, asked).strip() == expected
        with netns.socket_in(pair.pod, socket.AF_INET, socket.SOCK_DGRAM) as client:
            raw = query("db.shop.svc.cluster.local.")
            client.sendto(raw, (VIPS[4], 53))
            assert server.recv(2048) == raw
    again = FastPathPlane(pair.kernel)
    again.read()
    assert set(again.links()) == {"pod0"}, "a restarted agent finds what is there"
    again.remove()
    assert pair.kernel.filters("pod0") == []
    assert not [each for each in pair.kernel.qdiscs() if each.kind == "clsact"]
    plane.remove()


async def test_the_sum_of_a_packet_that_a_device_completes(running: Running, pair: Pair) -> None:
    """A pod's stack leaves the sum to the device: the answer's field then holds the pseudo header's alone."""
    plane = FastPathPlane(pair.kernel)
    async with running(COREFILE) as (program, _):
        plane.want_links(["pod0"])
        fill(plane, known_of(program))
    with netns.socket_in(pair.pod, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as wire:
        wire.bind(("eth0", 0x0800))
        wire.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
        wire.settimeout(30)
        exchange(pair, 4, query("web.shop.svc.cluster.local."))
        while True:
            raw, extra, _flags, _where = wire.recvmsg(2048, 256)
            found = opened(raw)
            if found.source_port == 53:
                break
        status = struct.unpack_from("=I", extra[0][2])[0]
    whole = opened(frame(Datagram(*_ends(found), found.data, found.source_port, found.target_port)))
    not_ready = status & 8  # TP_STATUS_CSUMNOTREADY
    assert found.check == (summed(pseudo(found)) if not_ready else whole.check)
    plane.remove()


async def test_a_link_that_comes_again_is_taken_again(running: Running, pair: Pair) -> None:
    plane = FastPathPlane(pair.kernel)
    async with running(COREFILE) as (program, _):
        plane.want_links(["pod0", "late0"])
        known = known_of(program)
        fast = fill(plane, known)
    pair.run(pair.node, "ip link add late0 type veth peer name late1")
    plane.link_changed("late0")
    plane.link_changed("somebody-elses")
    plane.sync(soon(), known.serial)
    assert pair.kernel.filters("late0") == [Filter("late0", DIRECTION, PRIORITY, 1, "dns", 0, fast.id, fast.tag)]
    bpf.detach_tc(pair.kernel, "pod0", DIRECTION, priority=PRIORITY)  # somebody took it away
    plane.read()
    plane.sync(soon(), known.serial)
    assert len(pair.kernel.filters("pod0")) == 1
    plane.want_links(["late0"])
    plane.sync(soon(), known.serial)
    assert pair.kernel.filters("pod0") == []
    plane.remove()
