"""cache: what is kept, for how long, and what is given when it is over. Time is the test's own."""

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.servers.dns import wire
from clew.servers.dns.plugins.cache.store import Entry, aged, read

from .test_specification import seen
from .upstream import Reply, Resolver, address, serving
from .world import Hands, Running, ask, until, until_true


def negative(query: dns.message.Message, ttl: int = 300, minimum: int = 20) -> dns.message.Message:
    made = dns.message.make_response(query)
    made.set_rcode(dns.rcode.NXDOMAIN)
    made.authority.append(dns.rrset.from_text("example.", ttl, "IN", "SOA", f"n. h. 1 2 3 4 {minimum}"))
    return made


def failing(query: dns.message.Message) -> dns.message.Message:
    made = dns.message.make_response(query)
    made.set_rcode(dns.rcode.SERVFAIL)
    return made


def text(up: int, options: str = "", arguments: str = "") -> str:
    return f".:PORT {{\ncache {arguments} {{\n{options}\n}}\nforward . 127.0.0.1:{up}\n}}"


async def test_an_answer_ages_and_expires(running: Running) -> None:
    resolver, clock = Resolver(), Hands()
    async with serving(resolver) as up, running(text(up), clock=clock) as (_, port):
        assert (await ask(port, "www.example.")).answer[0].ttl == 60
        clock.time += 25
        again = await ask(port, "WWW.example.")
        assert again.answer[0].ttl == 35
        assert str(again.question[0].name) == "WWW.example."
        assert not again.flags & dns.flags.AA
        assert len(resolver.asked) == 1
        clock.time += 36
        assert (await ask(port, "www.example.")).answer[0].ttl == 60
        assert len(resolver.asked) == 2


@pytest.mark.parametrize(
    ("reply", "options", "arguments", "lifetime"),
    [
        (address, "", "", 60),
        (address, "", "30", 30),
        (lambda query: address(query, ttl=1), "", "", 5),
        (lambda query: address(query, ttl=1), "success 100 3600 0", "", 1),
        (address, "success 100 20", "", 20),
        (negative, "", "", 20),
        (negative, "denial 100 10", "", 10),
        (lambda query: negative(query, 10, 500), "", "", 10),
        (failing, "", "", 5),
        (failing, "servfail 2s", "", 2),
        (failing, "servfail 0", "", 0),
        (address, "disable success", "", 0),
        (negative, "disable denial example", "", 0),
        (address, "", "other.test", 0),
    ],
)
async def test_a_lifetime(running: Running, reply: Reply, options: str, arguments: str, lifetime: int) -> None:
    resolver, clock = Resolver(reply), Hands()
    async with serving(resolver) as up, running(text(up, options, arguments), clock=clock) as (_, port):
        await ask(port, "www.example.")
        clock.time += max(lifetime - 0.5, 0)
        await ask(port, "www.example.")
        assert len(resolver.asked) == (1 if lifetime else 2)
        clock.time += 1
        await ask(port, "www.example.")
        assert len(resolver.asked) == (2 if lifetime else 3)


async def test_signed_and_plain_edns_and_subnets_are_told_apart(running: Running) -> None:
    resolver, clock = Resolver(), Hands()
    async with serving(resolver) as up, running(text(up), clock=clock) as (_, port):
        with_edns = await ask(port, "www.example.")
        without = await ask(port, "www.example.", use_edns=-1)
        assert (with_edns.edns, without.edns) == (0, -1)
        assert len(resolver.asked) == 1, "one memory for both"
        await ask(port, "www.example.", want_dnssec=True)
        assert len(resolver.asked) == 2
        for _ in range(2):
            await ask(port, "sub.example.", options=[dns.edns.ECSOption("192.0.2.0", 24)])
        assert len(resolver.asked) == 4, "an answer for one network is not given to another"


async def test_what_was_asked_with_a_cookie_is_kept(running: Running) -> None:
    """A cookie as dig sends it is of eight bytes: its length was taken for the option of a client's network, code 8."""
    resolver, clock = Resolver(), Hands()
    async with serving(resolver) as up, running(text(up), clock=clock) as (_, port):
        for _ in range(2):
            await ask(port, "www.example.", options=[dns.edns.GenericOption(10, b"12345678")])
        assert len(resolver.asked) == 1


async def test_serve_stale_at_once_and_ask_behind(running: Running) -> None:
    resolver, clock = Resolver(), Hands()
    async with serving(resolver) as up, running(text(up, "serve_stale"), clock=clock) as (_, port):
        await ask(port, "www.example.")
        clock.time += 100
        resolver.reply = lambda query: address(query, "192.0.2.8")
        old = await ask(port, "www.example.")
        assert (seen(old), old.answer[0].ttl) == ("192.0.2.7", 0)
        await until(lambda: len(resolver.asked) == 2)
        fresh = await ask(port, "www.example.")
        assert (seen(fresh), fresh.answer[0].ttl) == ("192.0.2.8", 60)
        clock.time += 5000
        await ask(port, "www.example.")
        assert len(resolver.asked) == 3, "an hour over is over"


async def test_serve_stale_only_where_nothing_better_can_be_had(running: Running) -> None:
    resolver, clock = Resolver(), Hands()
    async with serving(resolver) as up, running(text(up, "serve_stale 1h verify"), clock=clock) as (_, port):
        await ask(port, "www.example.")
        clock.time += 100
        resolver.reply = failing
        assert seen(await ask(port, "www.example.")) == "192.0.2.7"
        resolver.reply = lambda query: address(query, "192.0.2.8")
        assert seen(await ask(port, "www.example.")) == "192.0.2.8"


async def test_prefetch_renews_what_is_wanted(running: Running) -> None:
    resolver, clock = Resolver(), Hands()
    async with serving(resolver) as up, running(text(up, "prefetch 2 1m 20%"), clock=clock) as (_, port):
        await ask(port, "www.example.")
        for _ in range(3):
            await ask(port, "www.example.")
        assert len(resolver.asked) == 1, "too early"
        clock.time += 50
        await ask(port, "www.example.")
        await until_true(lambda: _lives(port, 60))
        clock.time += 15
        assert (await ask(port, "www.example.")).answer[0].ttl == 45
        assert len(resolver.asked) == 2


async def _lives(port: int, ttl: int) -> bool:
    return (await ask(port, "www.example.")).answer[0].ttl == ttl


async def test_an_alias_out_of_the_cluster_is_kept(running: Running) -> None:
    resolver, clock = Resolver(), Hands()
    body = 'template IN A near.test {\nanswer "near.test. 60 IN CNAME far.test."\n}'
    async with serving(resolver) as up:
        corefile = f".:PORT {{\ncache\n{body}\nforward . 127.0.0.1:{up}\n}}"
        async with running(corefile, clock=clock) as (_, port):
            for _ in range(3):
                assert seen(await ask(port, "near.test.")) == "far.test. | 192.0.2.7"
    assert len(resolver.asked) == 1


@given(st.integers(0, 100), st.lists(st.integers(0, 400), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_ageing_touches_nothing_but_lifetimes(seconds: int, ttls: list[int], edns: bool, signed: bool) -> None:
    query = dns.message.make_query("a.example.", "A", use_edns=0 if edns else -1, want_dnssec=signed and edns)
    message = dns.message.make_response(query)
    for at, ttl in enumerate(ttls):
        message.answer.append(dns.rrset.from_text(f"n{at}.example.", ttl, "IN", "CNAME", f"n{at + 1}.example."))
    found = read(message.to_wire())
    assert found.least == min(ttls)
    again = dns.message.from_wire(bytes(aged(Entry(found.raw, found.offsets, 0, 0, 1000), seconds)))
    assert [rrset.ttl for rrset in again.answer] == [max(ttl - seconds, 0) for ttl in ttls]
    assert [rrset.to_rdataset() for rrset in again.answer] == [rrset.to_rdataset() for rrset in message.answer]
    assert again.edns == -1


@given(st.binary(max_size=120))
def test_no_message_breaks_the_reader(data: bytes) -> None:
    for raw in (data, dns.message.make_response(dns.message.make_query("a.", "A")).to_wire()[:4] + data):
        try:
            read(raw) if len(raw) >= 12 else None
        except wire.WireError:
            continue
