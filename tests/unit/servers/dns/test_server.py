"""Whole servers on loopback, asked by dnspython over UDP and TCP."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncquery
import dns.message
import dns.rcode
import pytest
from tests.free_port import free_port

from clew.app.dns import DnsOptions, Program

Ask = Callable[..., Awaitable[dns.message.Message]]


@asynccontextmanager
async def running(corefile: str, path: Path) -> AsyncIterator[tuple[Program, int]]:
    """A program for `corefile` (PORT is replaced) on a free port of loopback."""
    port = free_port()
    path.write_text(corefile.replace("PORT", str(port)))
    program = Program(DnsOptions(path, host="127.0.0.1"))
    task = asyncio.ensure_future(program.run())
    try:
        deadline = time.monotonic() + 30
        while not program.listeners:
            assert not task.done(), task.exception()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        yield program, port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await program.stop()


async def ask(port: int, name: str, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=0)
    how = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await how(query, "127.0.0.1", port=port, timeout=20)


HOSTS = """.:PORT {
  errors
  hosts {
    192.0.2.1 www.example
    2001:db8::1 www.example
    fallthrough
  }
  loadbalance
}"""


@pytest.mark.parametrize("tcp", [False, True])
async def test_hosts_answers_and_refuses_what_nobody_serves(tmp_path: Path, tcp: bool) -> None:
    async with running(HOSTS, tmp_path / "Corefile") as (_, port):
        assert "192.0.2.1" in (await ask(port, "WWW.example.", tcp=tcp)).answer[0].to_text()
        assert "2001:db8::1" in (await ask(port, "www.example.", "AAAA", tcp=tcp)).answer[0].to_text()
        assert "www.example." in (await ask(port, "1.2.0.192.in-addr.arpa.", "PTR", tcp=tcp)).answer[0].to_text()
        assert (await ask(port, "other.example.", tcp=tcp)).rcode() == dns.rcode.REFUSED


async def test_forward_asks_upstream_and_cache_answers_without_it(tmp_path: Path) -> None:
    async with running(HOSTS, tmp_path / "up") as (upstream, up):
        corefile = f".:PORT {{\n forward . 127.0.0.1:{up}\n cache 30\n errors\n}}"
        async with running(corefile, tmp_path / "down") as (_, port):
            first = await ask(port, "www.example.")
            assert "192.0.2.1" in first.answer[0].to_text()
            await upstream.stop()
            again = await ask(port, "wWw.example.")
            assert again.answer[0].to_text().lower().startswith("www.example.")
            assert str(again.question[0].name) == "wWw.example."
            lost = await ask(port, "new.example.")
            assert lost.rcode() == dns.rcode.SERVFAIL


async def test_a_bad_corefile_keeps_the_old_one_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "Corefile"
    async with running(HOSTS, path) as (program, port):
        assert program.context.corefile_changed is not None
        path.write_text(".:53 {\n nonsense\n}")
        await program.context.corefile_changed()
        assert "2:2: unknown directive 'nonsense'" in capsys.readouterr().out
        assert (await ask(port, "www.example.")).rcode() == dns.rcode.NOERROR
        path.write_text(HOSTS.replace("PORT", str(port)).replace("192.0.2.1", "192.0.2.2"))
        await program.context.corefile_changed()
        deadline = time.monotonic() + 30
        while "192.0.2.2" not in (await ask(port, "www.example.")).answer[0].to_text():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
