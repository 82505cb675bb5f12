"""Packets that nobody honest sends: a server answers or is silent, never falls over, and never answers with much."""

import asyncio
import socket
import struct
from collections.abc import Iterator

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.ir.names import Record
from clew.servers.dns import message, wire
from clew.servers.dns.chain import link
from clew.servers.dns.datagrams import Peer
from clew.servers.dns.encode import encode
from clew.servers.dns.plugins.hosts import Hosts, Options
from clew.servers.dns.quick import Quick
from clew.servers.dns.server import Listener, Route
from clew.servers.dns.wire import Response
from clew.servers.dns.zone import Zone

from .test_specification import seen
from .world import Running, ask

PEER = Peer("192.0.2.1", 4000, ("192.0.2.1", 4000), b"")


def listener(failures: list[Exception]) -> Listener:
    zone = Zone("")
    for last in range(1, 200):
        zone.put(last, [Record("many.example", "A", f"10.0.0.{last}"), Record("www.example", "TXT", "x" * last)])
    return Listener([Route(b"\0", link([Hosts(zone, Options())]), quick=True)], failures.append)


def packets() -> st.SearchStrategy[bytes]:
    """Questions with something wrong somewhere."""
    made = st.builds(
        _packet,
        st.sampled_from(["many.example.", "www.example.", "x.", "."]),
        st.sampled_from(["A", "ANY", "AXFR", "TXT", "SOA", "TYPE0", "TYPE65535", "OPT"]),
        st.booleans(), st.sampled_from([0, 0, 0, 2, 4, 5, 15]),
        st.lists(st.tuples(st.integers(0, 80), st.binary(max_size=6)), max_size=3),
    )  # fmt: skip
    return st.one_of(made, st.binary(max_size=600))


def _packet(name: str, kind: str, edns: bool, opcode: int, bad: list[tuple[int, bytes]]) -> bytes:
    query = dns.message.make_query(name, kind, use_edns=0 if edns else -1)
    query.set_opcode(dns.opcode.Opcode(opcode))
    raw = bytearray(query.to_wire())
    for at, data in bad:
        raw[at : at + len(data)] = data
    return bytes(raw)


@given(packets(), st.booleans())
def test_no_packet_breaks_the_server_or_is_amplified(raw: bytes, tcp: bool) -> None:
    failures: list[Exception] = []
    reply = listener(failures)._reply(raw, PEER, quick=Quick(), tcp=tcp)
    assert failures == []
    assert isinstance(reply, bytes)
    if not reply:
        return
    assert reply[:2] == raw[:2]
    assert reply[2] & 0x80
    assert tcp or len(reply) <= 1232
    dns.message.from_wire(reply, ignore_trailing=False)


def test_a_question_that_points_is_refused() -> None:
    """A pointer whose second byte is zero once passed for a name that ends."""
    head = struct.pack(">HHHHHH", 7, 0, 1, 0, 0, 0)
    for name in (b"\1a\xc0\x00", b"\xc0\x00", b"\x40a\0"):
        reply = listener([])._reply(head + name + b"\0\1\0\1", PEER, quick=Quick(), tcp=False)
        assert isinstance(reply, bytes)
        assert reply[3] & 15 == dns.rcode.FORMERR


NAMES = st.lists(st.sampled_from(["a", "bb", "Ccc", "example", "com"]), min_size=0, max_size=5).map(
    lambda labels: ".".join(labels) + "."
)
RECORDS = st.one_of(
    st.tuples(NAMES, st.just("A"), st.just("192.0.2.1")),
    st.tuples(NAMES, st.sampled_from(["CNAME", "NS", "PTR"]), NAMES),
    st.tuples(NAMES, st.just("MX"), NAMES.map("10 {}".format)),
    st.tuples(NAMES, st.just("SRV"), NAMES.map("0 1 80 {}".format)),
    st.tuples(NAMES, st.just("SOA"), st.tuples(NAMES, NAMES).map(lambda two: f"{two[0]} {two[1]} 1 2 3 4 5")),
    st.tuples(NAMES, st.just("TXT"), st.just('"text"')),
)


def _line(record: tuple[str, str, str]) -> dns.rrset.RRset:
    return dns.rrset.from_text(record[0], 60, "IN", record[1], record[2])


@given(NAMES, st.lists(st.lists(RECORDS, max_size=6), min_size=3, max_size=3))
def test_compression_loses_nothing(name: str, parts: list[list[tuple[str, str, str]]]) -> None:
    from clew.servers.dns.records import record  # noqa: PLC0415 - beside its one use

    query = wire.parse_query(dns.message.make_query(name, "A").to_wire(), tcp=True)
    sections = [[record(f"{owner} 60 IN {kind} {data}") for owner, kind, data in part] for part in parts]
    raw = encode(query, Response(0, *sections))
    plain = sum(len(each) for part in sections for each in part) + query.question_end
    assert len(raw) <= plain
    read = dns.message.from_wire(raw, one_rr_per_rrset=True)
    for found, part in zip((read.answer, read.authority, read.additional), parts, strict=True):
        assert [each.to_text() for each in found] == [_line(each).to_text() for each in part]
    again = message.sections(raw)
    assert [[each.wire() for each in part] for part in again] == sections, "our own reader agrees"


@given(st.binary(max_size=100))
def test_no_answer_of_an_upstream_breaks_the_reader(data: bytes) -> None:
    head = struct.pack(">HHHHHH", 1, 0x8180, 1, 2, 1, 1) + b"\1a\0\0\1\0\1"
    for raw in (data, head + data):
        try:
            message.sections(raw)
        except wire.WireError:
            continue


def test_a_name_that_points_at_itself_ends() -> None:
    for name in (b"\xc0\x0c", b"\1a\xc0\x0c", b"\xc0\xff"):
        with pytest.raises(wire.WireError):
            message.read_name(b"\0" * 12 + name, 12)


def test_a_cookie_is_answered_and_one_of_the_wrong_size_refused() -> None:
    for cookie, size in ((b"12345678", 24), (b"1" * 24, 24), (b"123", 0), (b"1" * 12, 0)):
        raw = dns.message.make_query("www.example.", "A", options=[dns.edns.GenericOption(10, cookie)]).to_wire()
        reply = listener([])._reply(raw, PEER, quick=Quick(), tcp=False)
        assert isinstance(reply, bytes)
        answer = dns.message.from_wire(reply)
        assert (answer.rcode() == dns.rcode.FORMERR) == (not size)
        sizes = [len(option.client + option.server) for option in answer.options]  # type: ignore[attr-defined]
        assert sizes == ([size] if size else [])


def test_any_is_answered_with_one_set() -> None:
    raw = dns.message.make_query("www.example.", "ANY", use_edns=0, payload=65535).to_wire()
    reply = listener([])._reply(raw, PEER, quick=Quick(), tcp=False)
    assert isinstance(reply, bytes)
    assert len(reply) <= 1232


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["t", "u", "v"])), max_size=60))
def test_memory_never_holds_what_was_announced_stale(steps: list[tuple[str, str]]) -> None:
    """Small generations, so that entries wander between them."""
    quick, version = Quick(most=3), dict.fromkeys("tuv", 0)
    for key, token in steps:
        if key == "f":
            version[token] += 1
            quick.stale([token.encode()])
            continue
        raw = key.encode() + token.encode()
        entry = quick.young.get(raw) or quick.again(raw)
        if entry is None:
            quick.put(raw, [str(version[token]).encode()], wire.Tally(), (token.encode(),))
        else:
            assert entry[0]() == str(version[token]).encode()


@pytest.fixture
def stream() -> Iterator[list[bytes]]:
    return [
        dns.message.make_query(name, "A", id=number).to_wire()
        for number, name in enumerate(["www.example.", "no.example.", "www.example.", "db.example."])
    ]


HOSTS = ".:PORT {\n hosts {\n 192.0.2.1 www.example\n 192.0.2.2 db.example\n }\n}"


async def test_questions_on_one_connection_are_all_answered_however_they_are_cut(
    running: Running, stream: list[bytes]
) -> None:
    data = b"".join(struct.pack(">H", len(raw)) + raw for raw in stream)
    async with running(HOSTS) as (_, port):
        for step in (1, 7, len(data)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for at in range(0, len(data), step):
                writer.write(data[at : at + step])
                await writer.drain()
            ids = set()
            async with asyncio.timeout(30):
                for _ in stream:
                    (length,) = struct.unpack(">H", await reader.readexactly(2))
                    ids.add(dns.message.from_wire(await reader.readexactly(length)).id)
            assert ids == {0, 1, 2, 3}
            writer.close()


async def test_rubbish_on_a_connection_ends_it_and_nothing_else(running: Running) -> None:
    async with running(HOSTS) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\0\x0c\0\1\x80\0" + b"\0" * 8)  # an answer, to nothing
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()
        assert seen(await ask(port, "www.example.", tcp=True)) == "192.0.2.1"


async def test_a_burst_of_rubbish_and_questions(running: Running) -> None:
    """In one batch: each question has its own answer, and rubbish none."""
    async with running(HOSTS) as (_, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(("127.0.0.1", port))
            for number in range(150):
                name = "www.example." if number % 3 else "db.example."
                sock.send(dns.message.make_query(name, "A", id=number).to_wire())
                sock.send([b"", b"x", b"\xff" * 3000, b"\0" * 12][number % 4])
            found = {}
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(30):
                while len(found) < 150:
                    raw = await loop.sock_recv(sock, 4096)
                    answer = dns.message.from_wire(raw)
                    if answer.question:
                        found[answer.id] = seen(answer)
        assert all(text == ("192.0.2.1" if number % 3 else "192.0.2.2") for number, text in found.items())
