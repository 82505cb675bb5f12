"""IPsec between real agents, where the kernel has ESP; tests/vm/test_ipsec.py runs this file in a guest that has it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from tests.ports.node.crossing import Stream, addresses, answers, everyone_sees_everyone, wire
from tests.ports.node.secret import KEYS, give, stands

from clew.kernel import netns
from clew.kernel.netlink import Netlink, Route
from clew.kernel.netlink.requests import Add
from clew.kernel.xfrm import KernelXfrm, Policy, State, Template

SECOND_KEY = f"4 rfc4106(gcm(aes)) {bytes(range(100, 136)).hex()} 128\n"
FOREIGN = State("192.0.2.1", "192.0.2.2", 0x1234, reqid=7)
OTHERS = Policy("out", "192.0.2.0/24", "198.51.100.0/24", Template(7, "192.0.2.1", "192.0.2.2"))
MARK = b"nothing of this is seen on the way"
BEFORE = {4: (socket.AF_INET, 20 + 8), 6: (socket.AF_INET6, 40 + 8)}  # of a datagram's payload
READING = 30  # seconds
EXPERT = {4: (socket.IPPROTO_IP, 10, 2), 6: (socket.IPPROTO_IPV6, 62, 1)}  # IP_PMTUDISC_DO, IPV6_DONTFRAG


@contextmanager
def xfrm(ns: Path) -> Iterator[KernelXfrm]:
    port = KernelXfrm(ns)
    try:
        yield port
    finally:
        port.close()


def spis(node: Any) -> set[int]:
    with xfrm(node.ns) as port:
        return {state.spi for state in port.states() if state.reqid == 147}


def sending(node: Any) -> set[int]:
    """SPIs under which it sends."""
    with xfrm(node.ns) as port:
        return {each.needs.spi for each in port.policies() if each.direction == "out" and each.needs and each.if_id}


def started(lab: Any, tools: Any, *numbers: int, keys: str = KEYS, **network: Any) -> list[Any]:
    give(lab, keys)
    nodes = [lab.node(number) for number in numbers]
    for node in nodes:
        node.start(network={"backend": "ipsec", **network})
    for node in nodes:
        stands(node, tools, "3")
    return nodes


class Bytes:
    """One TCP stream that never rests."""

    def __init__(self, source: Any, target: Any) -> None:
        with netns.socket_in(target.ns, socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind((target.ips[0], 0))
            listener.listen()
            self._out = netns.socket_in(source.ns, socket.AF_INET, socket.SOCK_STREAM)
            self._out.connect(listener.getsockname())
            self._in, _ = listener.accept()
        self._end = threading.Event()
        self.sent = self.taken = 0
        self._threads = [threading.Thread(target=each) for each in (self._send, self._take)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(20)
        self._in.close()

    def _send(self) -> None:
        while not self._end.wait(0.01):
            self._out.sendall(bytes(4000))
            self.sent += 4000
        self._out.close()

    def _take(self) -> None:
        while found := self._in.recv(65536):
            self.taken += len(found)


@pytest.mark.parametrize("keys", [SECOND_KEY, KEYS + SECOND_KEY], ids=["replaced", "added"])
def test_a_rotation_loses_no_packet(lab: Any, tools: Any, keys: str) -> None:
    one, two = started(lab, tools, 1, 2)
    a, c = one.pod("a"), two.pod("c")
    tools.eventually(lambda: answers(tools, a, c) and answers(tools, c, a), "packets pass")
    before = sending(one) | sending(two)
    with Bytes(a, c) as stream, Stream(a.ns, c.ns, c.ips[0]) as there, Stream(c.ns, a.ns, a.ips[0]) as back:
        tools.eventually(lambda: there.more(50) and back.more(50), "datagrams flow")
        give(lab, keys)
        tools.eventually(lambda: not before & (sending(one) | sending(two)), "both send under the new key", times=2)
        tools.eventually(lambda: there.more(100), "datagrams flow on")
        tools.eventually(lambda: back.more(100), "in both directions")
        tools.eventually(lambda: (there.lost, back.lost) == (0, 0), "and none is lost")
    assert stream.taken == stream.sent > 0
    assert before <= spis(one), "for a while the old states stay"
    for node in (one, two):
        stands(node, tools, *(["3", "4"] if keys.startswith("3") else ["4"]))


def test_nothing_is_seen_on_the_way_and_each_packet_is_of_a_known_state(lab: Any, tools: Any) -> None:
    one, two = started(lab, tools, 1, 2)
    a, c = one.pod("a"), two.pod("c")
    tools.eventually(lambda: answers(tools, a, c), "packets pass")
    with (
        wire(lab.fabric) as between,
        netns.socket_in(c.ns, socket.AF_INET, socket.SOCK_DGRAM) as listener,
        netns.socket_in(a.ns, socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        listener.bind((c.ips[0], 0))
        listener.settimeout(10)
        between.frames()
        sender.sendto(MARK, listener.getsockname())
        assert listener.recv(100) == MARK
        frames = between.frames()
    assert not [frame for frame in frames if MARK in frame]
    esp = [frame for frame in frames if frame[12:14] == b"\x08\x00" and frame[23] == 50]
    assert {int.from_bytes(frame[34:38], "big") for frame in esp} <= spis(one)
    assert esp


def test_the_mtu_to_the_byte_and_who_is_seen_as_whom(any_lab: Any, tools: Any) -> None:
    """Over IPv4 where nodes have it, whatever is inside; the largest packet fills the link and is not cut."""
    one, two = started(any_lab, tools, 1, 2)
    a, c = one.pod("a"), two.pod("c")
    tools.eventually(lambda: answers(tools, a, c) and answers(tools, c, a), "packets pass")
    everyone_sees_everyone(any_lab, tools, one, two, a, c)
    mtu = 1446 if 4 in any_lab.families else 1426
    for at, family in enumerate(any_lab.families):
        kind, headers = BEFORE[family]
        with (
            wire(any_lab.fabric) as between,
            netns.socket_in(c.ns, kind, socket.SOCK_DGRAM) as listener,
            netns.socket_in(a.ns, kind, socket.SOCK_DGRAM) as sender,
        ):
            listener.bind((c.ips[at], 0))
            listener.settimeout(10)
            sender.setsockopt(*EXPERT[family])
            sender.connect(listener.getsockname()[:2])
            between.frames()
            sender.send(bytes(mtu - headers))
            assert len(listener.recv(2000)) == mtu - headers
            assert 1514 in {len(frame) for frame in between.frames()}
            with pytest.raises(OSError, match="Message too long"):
                sender.send(bytes(mtu - headers + 1))


def test_across_subnets_only(lab: Any, tools: Any) -> None:
    lab.subnet(1)
    give(lab, KEYS)
    one, two, far = lab.node(1), lab.node(2), lab.node(3, subnet=1)
    for node in (one, two, far):
        node.start(network={"backend": "ipsec", "crossSubnet": True})
    a, b, c = one.pod("a"), two.pod("b"), far.pod("c")
    tools.eventually(lambda: answers(tools, a, c) and answers(tools, a, b), "packets pass")
    with wire(lab.fabric) as between:
        everyone_sees_everyone(lab, tools, one, far, a, c)
        everyone_sees_everyone(lab, tools, one, two, a, b)
        seen = between.seen()
    assert (a.ips[0], b.ips[0], "") in seen
    assert (addresses(one)[0], addresses(far)[0], "ipsec") in seen
    assert not {packet for packet in seen if c.ips[0] in packet}


def test_what_pretends_to_be_a_pod_of_another_node_is_dropped(lab: Any, tools: Any) -> None:
    one, two = started(lab, tools, 1, 2)
    a, c = one.pod("a"), two.pod("c")
    tools.eventually(lambda: answers(tools, c, a), "packets pass")
    two.stop()
    with Netlink(two.ns) as kernel:
        kernel.request([Add(Route(one.cidrs[0], via=addresses(one)[0], metric=0, proto=147), replace=True)])
    with wire(lab.fabric) as between:
        assert not answers(tools, c, a)
        assert (c.ips[0], a.ips[0], "") in between.seen(), "it did come, and nobody took it"


def test_nodes_that_reboot_move_and_leave_are_followed(lab: Any, tools: Any) -> None:
    """And what is somebody else's stays."""
    one, two, three = started(lab, tools, 1, 2, 3)
    a, c = one.pod("a"), two.pod("c")
    tools.eventually(lambda: answers(tools, a, c), "packets pass")
    with xfrm(one.ns) as port:
        port.add_state(FOREIGN, bytes(20))
        port.put_policy(OTHERS)
    before = spis(two)
    two.reboot()
    two.launch()
    tools.eventually(two._ready, "its agent is back")
    fresh = two.pod("c2")
    tools.eventually(lambda: answers(tools, a, fresh) and answers(tools, fresh, a), "packets pass again")
    assert not before & spis(two), "no key comes twice"
    two.move("172.30.0.72/24")
    tools.eventually(lambda: answers(tools, a, fresh) and answers(tools, fresh, a), "at its new address")
    lab.api.put("nodes", three.name, None)
    gone = addresses(three)[0]

    def left() -> bool:
        with xfrm(one.ns) as port:
            return not [state for state in port.states() if gone in {state.source, state.target}]

    tools.eventually(left, "nothing of a node that left")
    with xfrm(one.ns) as port:
        assert FOREIGN in port.states()
        assert OTHERS in port.policies()


def test_what_somebody_takes_is_back_before_the_next_reading(lab: Any, tools: Any) -> None:
    """All is read every 30 s; three times one after the other cannot be that."""
    one, two = started(lab, tools, 1, 2)
    a, c = one.pod("a"), two.pod("c")
    tools.eventually(lambda: answers(tools, a, c), "packets pass")
    began = time.monotonic()
    for _ in range(3):
        with xfrm(one.ns) as port:
            for policy in port.policies():
                port.remove_policy(policy)
        tools.eventually(lambda: sending(one), "the policies are back")
    assert time.monotonic() - began < READING
    assert answers(tools, a, c)
    before = spis(one)
    with xfrm(one.ns) as port:
        for state in port.states():
            port.remove_state(state)
    tools.eventually(lambda: answers(tools, a, c) and answers(tools, c, a), "packets pass under new keys")
    assert not before & spis(one)


def test_another_way_is_chosen_while_agents_run_and_nothing_of_ipsec_stays(lab: Any, tools: Any) -> None:
    one, two = started(lab, tools, 1, 2)
    a, c = one.pod("a"), two.pod("c")
    tools.eventually(lambda: answers(tools, a, c), "packets pass")
    for node in (one, two):
        node.configure(network={"backend": "host-gw"})
    tools.eventually(lambda: answers(tools, a, c) and not spis(one), "they pass in the clear, as it was asked")
    with xfrm(one.ns) as port:
        assert (port.states(), port.policies()) == ({}, [])
    for node in (one, two):
        node.configure(network={"backend": "ipsec"})
    tools.eventually(lambda: len(spis(one)) == 2 and answers(tools, a, c), "and encrypted again")


def test_without_a_secret_nobody_is_spoken_to_and_it_is_said(lab: Any, tools: Any) -> None:
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        node.start(network={"backend": "ipsec"})
    a, c = one.pod("a"), two.pod("c")
    assert not answers(tools, a, c)
    log = (one.root / "agent.log").read_text()
    assert "Secret kube-system/clew-ipsec-keys: metadata.name: it is not there" in log
    give(lab, "3 rfc4106(gcm(aes)) 0011 128\n")
    tools.eventually(lambda: "data.keys, line 1, KEY" in (one.root / "agent.log").read_text(), "the field is named")
    give(lab, KEYS)
    tools.eventually(lambda: answers(tools, a, c), "packets pass when there is one")
