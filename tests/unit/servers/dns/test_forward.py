"""forward: what reaches an upstream, what comes back, and what happens when one is ill."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from tests.free_port import free_port

from .test_specification import seen
from .upstream import Resolver, address, certificate, serving
from .world import Running, ask, until, until_true


def corefile(*upstreams: int | str, options: str = "", more: str = "errors") -> str:
    targets = " ".join(f"127.0.0.1:{each}" if isinstance(each, int) else each for each in upstreams)
    return f".:PORT {{\n{more}\nforward . {targets} {{\n{options}\n}}\n}}"


async def test_questions_arrive_whole_with_other_ids_and_ports(running: Running) -> None:
    resolver = Resolver()
    async with serving(resolver) as up, running(corefile(up)) as (_, port):
        subnet = dns.edns.ECSOption("192.0.2.0", 24)
        answer = await ask(port, "WwW.Example.", want_dnssec=True, options=[subnet])
        assert seen(answer) == "192.0.2.7"
        assert str(answer.question[0].name) == "WwW.Example."
        for _ in range(5):
            await ask(port, "www.example.")
    first = resolver.asked[0].message
    assert str(first.question[0].name) == "WwW.Example."
    assert first.ednsflags & dns.flags.DO
    assert [option.otype for option in first.options] == [dns.edns.ECS]
    assert len({asked.port for asked in resolver.asked}) > 1
    assert len({asked.message.id for asked in resolver.asked}) > 1


async def test_a_cookie_is_between_two_and_goes_no_further(running: Running) -> None:
    resolver = Resolver()
    async with serving(resolver) as up, running(corefile(up)) as (_, port):
        assert seen(await ask(port, "www.example.", options=[dns.edns.GenericOption(10, b"12345678")])) == "192.0.2.7"
    assert resolver.asked[0].message.options == ()


@pytest.mark.parametrize("wrong", ["id", "question", "not an answer"])
async def test_what_does_not_answer_our_question_is_ignored(running: Running, wrong: str) -> None:
    """The datagram that fits comes after one that a stranger could have sent."""

    def forged(query: dns.message.Message) -> bytes:
        made = address(query, "203.0.113.66")
        if wrong == "id":
            made.id ^= 1
        elif wrong == "question":
            made = address(dns.message.make_query("other.example.", "A", id=query.id), "203.0.113.66")
        else:
            made.flags &= ~dns.flags.QR
        return made.to_wire()

    resolver = Resolver(forged)
    async with serving(resolver) as up, running(corefile(up)) as (program, port):
        asking = asyncio.ensure_future(ask(port, "www.example."))
        await until(lambda: resolver.asked)
        assert not asking.done()
        asking.cancel()
        assert program.context.registry.counter("coredns_panics_total", "").values[()] == 0


async def test_tcp_is_asked_by_tcp_on_a_kept_connection(running: Running) -> None:
    resolver = Resolver()
    async with serving(resolver) as up, running(corefile(up)) as (_, port):
        for _ in range(3):
            assert seen(await ask(port, "www.example.", tcp=True)) == "192.0.2.7"
        await ask(port, "www.example.")
    assert [asked.proto for asked in resolver.asked] == ["tcp", "tcp", "tcp", "udp"]
    assert resolver.connections == 1


@pytest.mark.parametrize(
    ("options", "tcp", "expected"), [("force_tcp", False, "tcp"), ("prefer_udp", True, "udp"), ("", False, "udp")]
)
async def test_the_way_is_chosen(running: Running, options: str, tcp: bool, expected: str) -> None:
    resolver = Resolver()
    async with serving(resolver) as up, running(corefile(up, options=options)) as (_, port):
        assert seen(await ask(port, "www.example.", tcp=tcp)) == "192.0.2.7"
    assert resolver.asked[0].proto == expected


async def test_a_truncated_answer_is_passed_on_or_asked_for_again(running: Running) -> None:
    def cut(query: dns.message.Message) -> dns.message.Message:
        made = address(query)
        if resolver.asked[-1].proto == "udp":
            made.answer.clear()
            made.flags |= dns.flags.TC
        return made

    resolver = Resolver(cut)
    async with serving(resolver) as up, running(corefile(up, options="prefer_udp")) as (_, port):
        assert (await ask(port, "www.example.")).flags & dns.flags.TC
        assert seen(await ask(port, "www.example.", tcp=True)) == "192.0.2.7"
    assert [asked.proto for asked in resolver.asked] == ["udp", "udp", "tcp"]


async def test_the_next_upstream_answers_for_one_that_is_down(running: Running) -> None:
    resolver = Resolver()
    async with serving(resolver) as up:
        down = free_port()
        async with running(corefile(down, up, options="policy sequential\nhealth_check 20ms")) as (program, port):
            for _ in range(4):
                assert seen(await ask(port, "www.example.")) == "192.0.2.7"
            sent = program.context.registry.counter("coredns_forward_requests_total", "", ("to",)).values
            assert sent[f"127.0.0.1:{up}",] == 4
            assert sent[f"127.0.0.1:{down}",] <= 2, "after two failures it is not asked any more"
            second = Resolver(lambda query: address(query, "192.0.2.8"))
            async with serving(second, down):
                await until_true(lambda: _answers(port, "192.0.2.8"))
            probes = [asked.message.question[0] for asked in second.asked]
            assert "NS" in {dns.rdatatype.to_text(question.rdtype) for question in probes}


async def _answers(port: int, expected: str) -> bool:
    return seen(await ask(port, "www.example.")) == expected


@pytest.mark.parametrize("policy", ["random", "round_robin", "sequential"])
async def test_policies(running: Running, policy: str) -> None:
    one, two = Resolver(), Resolver()
    async with serving(one) as first, serving(two) as second, AsyncExitStack() as stack:
        _, port = await stack.enter_async_context(running(corefile(first, second, options=f"policy {policy}")))
        for _ in range(24):
            await ask(port, "www.example.")
    counts = len(one.asked), len(two.asked)
    assert sum(counts) == 24
    assert {"sequential": counts == (24, 0), "round_robin": counts == (12, 12), "random": min(counts) > 0}[policy]


async def test_all_down_is_servfail_and_told(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    down = free_port()
    options = "failfast_all_unhealthy_upstreams\nmax_fails 1\nhealth_check 1h"
    async with running(corefile(down, options=options)) as (_, port):
        for _ in range(2):
            assert (await ask(port, "www.example.")).rcode() == dns.rcode.SERVFAIL
    assert "every upstream is down" in capsys.readouterr().out


async def test_without_errors_a_failure_is_still_servfail(running: Running) -> None:
    async with running(corefile(free_port(), more="")) as (_, port):
        assert (await ask(port, "www.example.")).rcode() == dns.rcode.SERVFAIL


async def test_some_names_are_excepted_and_some_answers_bettered(running: Running) -> None:
    def nothing(query: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(query)
        made.set_rcode(dns.rcode.NXDOMAIN)
        return made

    one, two = Resolver(nothing), Resolver()
    async with serving(one) as first, serving(two) as second:
        text = (
            f".:PORT {{\nforward . 127.0.0.1:{first} {{\nexcept private.test\nnext NXDOMAIN\n}}\n"
            f"forward example 127.0.0.1:{second}\n}}"
        )
        async with running(text) as (_, port):
            assert seen(await ask(port, "www.example.")) == "192.0.2.7"
            assert (await ask(port, "a.private.test.")).rcode() == dns.rcode.REFUSED
    assert [len(one.asked), len(two.asked)] == [1, 1]


async def test_too_many_at_once_are_refused(running: Running) -> None:
    resolver = Resolver(lambda _query: None)
    async with serving(resolver) as up, running(corefile(up, options="max_concurrent 2")) as (program, port):
        waiting = [asyncio.ensure_future(ask(port, f"w{each}.example.")) for each in range(2)]
        await until(lambda: len(resolver.asked) == 2)
        assert (await ask(port, "one.more.")).rcode() == dns.rcode.REFUSED
        rejected = program.context.registry.counter("coredns_forward_max_concurrent_rejects_total", "")
        assert rejected.values[()] == 1
        for each in waiting:
            each.cancel()


async def test_tls_to_an_upstream_whose_name_is_right(running: Running, tmp_path: Path) -> None:
    context, authority = certificate(tmp_path, "dns.example")
    resolver = Resolver()
    async with serving(resolver, context=context) as up:
        right = corefile(f"tls://127.0.0.1:{up}", options=f"tls {authority}\ntls_servername dns.example")
        async with running(right) as (_, port):
            for _ in range(2):
                assert seen(await ask(port, "www.example.")) == "192.0.2.7"
        assert [asked.proto for asked in resolver.asked] == ["tls", "tls"]
        assert resolver.connections == 1
        wrong = corefile(f"tls://127.0.0.1:{up}", options=f"tls {authority}\ntls_servername other.example")
        async with running(wrong) as (_, port):
            assert (await ask(port, "www.example.")).rcode() == dns.rcode.SERVFAIL
        assert len(resolver.asked) == 2


async def test_an_alias_takes_only_what_belongs_to_it(running: Running) -> None:
    """An upstream that answers more than was asked puts nothing of it into our answer."""

    def chatty(query: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(query)
        for owner, kind, data in (
            ("far.test.", "CNAME", "end.test."), ("end.test.", "A", "192.0.2.9"), ("bank.test.", "A", "203.0.113.66"),
        ):  # fmt: skip
            made.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, data))
        return made

    resolver = Resolver(chatty)
    template = 'template IN A near.test {\nanswer "near.test. 60 IN CNAME far.test."\n}\n'
    async with serving(resolver) as up, running(corefile(up, more=template)) as (_, port):
        answer = await ask(port, "near.test.")
        assert [each.to_text() for rrset in answer.answer for each in rrset] == ["far.test.", "end.test.", "192.0.2.9"]
