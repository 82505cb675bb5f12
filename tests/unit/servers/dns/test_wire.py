"""The wire format against dnspython, an implementation that is not ours."""

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.servers.dns import wire
from clew.servers.dns.encode import encode
from clew.servers.dns.wire import Query, Response, WireError

LABELS = st.lists(st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,14}", fullmatch=True), min_size=1, max_size=6)


def ask(name: str = "www.example.", kind: str = "A", **options: object) -> Query:
    return wire.parse_query(dns.message.make_query(name, kind, **options).to_wire())  # type: ignore[arg-type]


@given(LABELS, st.sampled_from(["A", "AAAA", "SRV", "PTR", "TXT"]), st.booleans(), st.booleans())
def test_a_question_is_read_as_dnspython_wrote_it(labels: list[str], kind: str, edns: bool, dnssec: bool) -> None:
    name = ".".join(labels) + "."
    message = dns.message.make_query(name, kind, use_edns=0 if edns else -1, want_dnssec=dnssec and edns, payload=4096)
    query = wire.parse_query(message.to_wire())
    assert query.id == message.id
    assert wire.name_to_text(query.name) == name
    assert query.lower == wire.name_to_wire(name.lower())
    assert wire.TYPE_NAMES[query.qtype] == kind
    assert bool(query.udp_size) == edns
    assert query.dnssec_ok == (dnssec and edns)


@given(st.binary(max_size=80))
def test_no_bytes_crash_the_parser(data: bytes) -> None:
    try:
        wire.parse_query(data)
    except WireError as error:
        if error.rcode is not None:
            dns.message.from_wire(wire.refusal(data, error.rcode))


@given(st.integers(0, 40), st.booleans())
def test_an_answer_is_read_by_dnspython_and_fits_the_room(count: int, edns: bool) -> None:
    query = ask("Www.Example.", use_edns=0 if edns else -1, payload=1232)
    bodies = [wire.body(wire.A, 30, bytes((10, 0, 0, each))) for each in range(count)]
    raw = encode(query, Response(answers=[wire.TO_QUESTION + each for each in bodies], authoritative=True))
    assert len(raw) <= query.room
    message = dns.message.from_wire(raw)
    assert message.flags & dns.flags.AA
    assert message.flags & dns.flags.RD
    assert str(message.question[0].name) == "Www.Example."
    answered = sum(len(rrset) for rrset in message.answer)
    assert (answered < count) == bool(message.flags & dns.flags.TC)
    assert (message.edns == 0) == edns


def test_a_relayed_message_bears_the_askers_id_and_capitals() -> None:
    query = ask("wWw.example.")
    reply = dns.message.make_response(dns.message.make_query("www.example.", "A", id=7))
    raw = encode(query, Response(raw=reply.to_wire()))
    message = dns.message.from_wire(raw)
    assert message.id == query.id
    assert str(message.question[0].name) == "wWw.example."


@pytest.mark.parametrize("raw", [b"", b"\0" * 11, b"\0\1\x80\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1"])
def test_what_is_no_question_is_not_answered(raw: bytes) -> None:
    with pytest.raises(WireError) as error:
        wire.parse_query(raw)
    assert error.value.rcode is None


def test_another_opcode_is_not_implemented() -> None:
    message = dns.message.make_query("a.example.", "A")
    message.set_opcode(dns.opcode.NOTIFY)
    with pytest.raises(WireError) as error:
        wire.parse_query(message.to_wire())
    assert error.value.rcode == dns.rcode.NOTIMP


@pytest.mark.parametrize("name", ["a..b", "x" * 64, ".".join(["abcdefgh"] * 30)])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a domain name"):
        wire.name_to_wire(name)
