"""The reflector against a history that is compacted, cut off and taken away at will: nothing missed, nothing twice."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.api.kinds import POD
from clew.api.objects import Key
from clew.watch.client import Client, Page, WatchEvent
from clew.watch.errors import ApiError, Unreachable
from clew.watch.reflector import INITIAL_END, Reflector


def pod(name: str, version: int, **more: Any) -> bytes:
    return json.dumps({"metadata": {"namespace": "d", "name": name, "resourceVersion": str(version)} | more}).encode()


def decode(data: bytes) -> tuple[Key, int]:
    meta = json.loads(data)["metadata"]
    return (meta["namespace"], meta["name"]), int(meta["resourceVersion"])


class History:
    """A server's log of one collection. `faults` says, call by call, how many events pass before which fault."""

    def __init__(self, faults: list[tuple[str, int]]) -> None:
        self.log: list[tuple[str, str, int]] = []  # type, name, version = position + 1
        self.compacted = 0
        self.faults = faults
        self.listed: list[int] = []
        self.streams = False
        self.changed = asyncio.Event()

    def write(self, name: str, *, delete: bool = False) -> None:
        exists = name in self.state()
        if delete and not exists:
            return
        kind = "DELETED" if delete else "MODIFIED" if exists else "ADDED"
        self.log.append((kind, name, len(self.log) + 1))
        self.changed.set()
        self.changed = asyncio.Event()

    def state(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for kind, name, version in self.log:
            if kind == "DELETED":
                found.pop(name, None)
            else:
                found[name] = version
        return found

    def fault(self) -> tuple[str, int]:
        return self.faults.pop(0) if self.faults else ("", 0)

    async def pages(self, kind: Any, namespace: str = "", *, labels: str = "", fields: str = "") -> AsyncIterator[Page]:
        del kind, namespace, labels, fields
        what, _ = self.fault()
        if what == "down":
            raise Unreachable("here", ConnectionRefusedError())
        version, state = len(self.log), sorted(self.state().items())
        half = len(state) // 2
        for part in (state[:half], state[half:]):
            yield Page([msgspec.Raw(pod(name, at)) for name, at in part], str(version))
            if what == "expire":
                raise ApiError(410, "Expired", "the continue token is too old")
        self.listed.append(version)

    async def watch(
        self, kind: Any, namespace: str = "", *, resource_version: str, labels: str = "", fields: str = "",
        initial_events: bool = False, opened: Callable[[], None] | None = None,
    ) -> AsyncGenerator[WatchEvent, None]:  # fmt: skip
        del kind, namespace, labels, fields
        what, after = self.fault()
        if opened and what != "down":
            opened()
        if initial_events:
            resource_version = str(len(self.log))
            async for event in self.initial(what):
                yield event
        at = int(resource_version)
        if at < self.compacted:
            raise ApiError(410, "Expired", f"too old resource version: {at}")
        if what == "down":
            raise Unreachable("here", ConnectionRefusedError())
        while True:
            changed = self.changed
            upto = len(self.log) if not what else min(len(self.log), int(resource_version) + after)
            for kind_, name, version in self.log[at:upto]:
                at = version
                yield WatchEvent(kind_, pod(name, version))
            if what == "bookmark":
                yield WatchEvent("BOOKMARK", pod("", at))
            if what:
                self.end(what)
                return
            await changed.wait()

    async def initial(self, what: str) -> AsyncGenerator[WatchEvent, None]:
        if not self.streams:
            raise ApiError(422, "Invalid", "sendInitialEvents is forbidden")
        version = len(self.log)
        for name, at in self.state().items():
            yield WatchEvent("ADDED", pod(name, at))
            if what == "cut":
                raise Unreachable("here", ConnectionResetError())
        self.listed.append(version)
        yield WatchEvent("BOOKMARK", pod("", version, annotations={INITIAL_END: "true"}))

    def end(self, what: str) -> None:
        if what == "cut":
            raise Unreachable("here", ConnectionResetError())
        if what == "compact":
            self.compacted = len(self.log)
            raise ApiError(410, "Expired", "too old resource version")


class Ledger:
    """A sink that checks every call against the history as it comes."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.at = -1
        self.items: dict[Key, int] = {}

    def replace(self, items: Mapping[Key, int]) -> None:
        version = self.history.listed[-1]
        assert version >= self.at, "went back in time"
        self.at = version
        self.items = dict(items)

    def put(self, key: Key, fact: int | None) -> None:
        kind, name, version = self.history.log[self.at]
        assert key == ("d", name), f"event {version} is due, not {key}"
        assert fact == (None if kind == "DELETED" else version)
        self.at = version
        if fact is None:
            del self.items[key]
        else:
            self.items[key] = fact


NAMES = st.sampled_from("abcde")
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES), st.tuples(st.just("delete"), NAMES), st.tuples(st.just("turn"), st.just(""))
)
FAULTS = st.tuples(st.sampled_from(["", "cut", "end", "down", "compact", "bookmark", "expire"]), st.integers(0, 3))


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came true")


class NoTime:
    """Sleeping takes a turn of the loop and no time."""

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> Any:
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        await asyncio.sleep(0)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40), st.lists(FAULTS, max_size=12), st.booleans(), st.booleans())
def test_no_event_is_missed_or_seen_twice(
    steps: list[tuple[str, str]],
    faults: list[tuple[str, int]],
    streaming: bool,
    streams: bool,
) -> None:
    async def scenario() -> None:
        history = History(list(faults))
        history.streams = streams
        ledger = Ledger(history)
        reflector = Reflector(history, POD, decode, ledger, clock=NoTime(), streaming=streaming)
        async with asyncio.timeout(30):
            running = asyncio.create_task(reflector.run())
            for step, name in steps:
                if step == "turn":
                    await asyncio.sleep(0)
                else:
                    history.write(name, delete=step == "delete")
            await until(lambda: running.done() or ledger.at == len(history.log))
            assert not running.done() or running.result() is None
            assert {name: at for (_, name), at in ledger.items.items()} == history.state()
            running.cancel()

    # A fault takes effect when something happens; enough writes use all of them up.
    steps += [("write", "z"), ("turn", "")] * (len(faults) + 1)
    asyncio.run(scenario())


async def test_a_server_is_heard_again_when_it_agrees_to_a_watch_that_brings_nothing() -> None:
    """The next bookmark of a quiet collection is a minute away: whoever must be sure would wait that long."""
    history = History([("", 0), ("bookmark", 0), ("down", 0), ("down", 0), ("", 0)])
    heard: list[bool] = []
    reflector = Reflector(history, POD, decode, Ledger(history), clock=NoTime(), health=heard.append)
    running = asyncio.create_task(reflector.run())
    await until(lambda: not history.faults)
    await until(lambda: heard[-1])
    assert heard == [True, True, True, False, False, True]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_state_is_kept_while_the_server_is_away_and_across_its_restart(server: Any, clock: Any) -> None:
    version = 1

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.Response(body=b'{"metadata":{"resourceVersion":"1"},"items":[' + pod("a", 1) + b"]}")
        response = web.StreamResponse()
        await response.prepare(request)
        for at in range(int(request.query["resourceVersion"]) + 1, version + 1):
            await response.write(b'{"type":"ADDED","object":' + pod(f"p{at}", at) + b"}\n")
        await asyncio.Event().wait()
        return response

    calls: list[Any] = []
    arrived = asyncio.Event()

    class Sink:
        def replace(self, items: Mapping[Key, int]) -> None:
            calls.append(dict(items))
            arrived.set()

        def put(self, key: Key, fact: int | None) -> None:
            calls.append((key, fact))
            arrived.set()

    server.answer = answer
    async with Client(server.url) as client, asyncio.timeout(20):
        running = asyncio.create_task(Reflector(client, POD, decode, Sink(), clock=clock).run())
        await arrived.wait()
        await server.stop()
        version = 2
        arrived.clear()
        await asyncio.sleep(0)
        await server.start()
        await arrived.wait()
        running.cancel()
    assert calls == [{("d", "a"): 1}, (("d", "p2"), 2)]


async def test_an_object_that_cannot_be_read_counts_as_absent(caplog: pytest.LogCaptureFixture) -> None:
    history = History([])
    history.write("good")
    history.write("bad")

    def picky(data: bytes) -> tuple[Key, int]:
        if b"bad" in data:
            raise msgspec.ValidationError("Expected `int`")
        return decode(data)

    ledger = Ledger(history)
    running = asyncio.create_task(Reflector(history, POD, picky, ledger).run())
    await until(lambda: ledger.at == 2)
    assert ledger.items == {("d", "good"): 1}
    assert "Pod d/bad left out" in caplog.text
    running.cancel()
