"""Whole servers on loopback, with a cluster given as objects, asked by dnspython."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import pytest
from tests.free_port import free_port

from clew.app.dns import DnsOptions, Program
from clew.base.clock import Clock
from clew.facts import endpointslice, namespace, pod, service

Running = Callable[..., AbstractAsyncContextManager[tuple[Program, int]]]


class Hands:
    """A clock that a test moves; sleepers wait for ever."""

    def __init__(self) -> None:
        self.time = 1000.0

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time)

    async def sleep(self, _seconds: float) -> None:
        await asyncio.Event().wait()


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def until_true(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in another program
            await asyncio.sleep(0.01)


async def ask(
    port: int, name: str, kind: str = "A", *, tcp: bool = False, seconds: float = 20, **options: Any
) -> dns.message.Message:
    query = dns.message.make_query(name, kind, **{"use_edns": 0, **options})
    how = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await how(query, "127.0.0.1", port=port, timeout=seconds)


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """A program for a Corefile (PORT is replaced) on a free port of loopback; its API server never answers."""
    config = tmp_path / "kubeconfig"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n"
        "clusters: [{name: x, cluster: {server: 'http://127.0.0.1:9'}}]\n"
        "users: [{name: x, user: {token: t}}]\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
    )
    count = 0

    @asynccontextmanager
    async def run(corefile: str, clock: Clock | None = None) -> AsyncIterator[tuple[Program, int]]:
        nonlocal count
        count += 1
        path, port = tmp_path / f"Corefile-{count}", free_port()
        path.write_text(corefile.replace("PORT", str(port)))
        program = Program(DnsOptions(path, host="127.0.0.1", kubeconfig=str(config)), clock)
        task = asyncio.ensure_future(program.run())
        try:
            await until(lambda: program.listeners or task.done())
            if task.done():
                await task
            yield program, port
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await program.stop()

    return run


def named(name: str, where: str = "shop", **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": where, **fields.pop("meta", {})}, **fields}


def a_service(name: str, where: str = "shop", **spec: Any) -> dict[str, Any]:
    return named(name, where, spec=spec)


def a_slice(name: str, of: str, *endpoints: dict[str, Any], where: str = "shop", **fields: Any) -> dict[str, Any]:
    labels = {"labels": {"kubernetes.io/service-name": of}}
    return named(name, where, meta=labels, endpoints=list(endpoints), **{"addressType": "IPv4", **fields})


class Cluster:
    """Objects put into the tables of a program's feed, as its reflectors would."""

    def __init__(self, program: Program) -> None:
        (self.feed,) = program.feeds.values()

    def has(
        self,
        *,
        namespaces: Iterable[str] = ("shop",),
        services: Iterable[dict[str, Any]] = (),
        slices: Iterable[dict[str, Any]] = (),
        pods: Iterable[dict[str, Any]] = (),
    ) -> None:
        self.feed.namespaces.replace({("", name): namespace.Namespace(name) for name in namespaces})
        self.feed.services.replace(_facts(service.decode, services))
        self.feed.slices.replace(_facts(endpointslice.decode, slices))
        self.feed.pods.replace(_facts(pod.decode, pods))
        self.feed.feed()


def _facts(decode: Callable[[bytes], Any], objects: Iterable[dict[str, Any]]) -> dict[Any, Any]:
    found = (decode(json.dumps(each).encode()) for each in objects)
    return {key: fact for key, fact in found if fact is not None}
