"""The lab's API server: durable creates over HTTPS, watches, and the disk, against bare SQLite commits.

The server, its writers and its watchers are three processes. What is created are pods as a Deployment makes them,
less than 1 KB each; a create is answered when it is on the disk. The baseline is one row of the same size a commit
(WAL, synchronous=FULL) in the same folder. Latency is from the write's decision to the event in a watcher's hands.
"""

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import uvloop

from bench.children import child, told
from bench.figures import Figure, Say, allow_files, median, process_cpu, resident, scaled
from clew.cluster.ca import Authority, client_tls
from clew.cluster.storage import Storage

WRITERS = 32
WATCHERS = 1000
PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
_STAMP = re.compile(rb'"stamp":"(\d+)"')


def pod(name: str) -> bytes:
    container = {
        "name": "web", "image": "nginx", "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "value": "b"}], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }  # fmt: skip
    meta = {"name": name, "labels": {"app": "web", "pod-template-hash": "5d59d67564"}}
    spec = {"automountServiceAccountToken": False, "containers": [container]}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}).encode()


# The watchers' process.


class Watcher(asyncio.Protocol):
    """One watch, read as bytes: how many events came, and how late."""

    def __init__(self, path: str, seen: "Seen") -> None:
        self._path = path
        self._seen = seen

    def connection_made(self, transport: Any) -> None:
        transport.write(f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        seen = self._seen
        if data.startswith(b"HTTP/1.1 200"):
            seen.ready.release()
        now = time.monotonic_ns()
        for stamp in _STAMP.findall(data):
            seen.late.append((now - int(stamp)) / 1e6)
        seen.events += data.count(b'"type":"ADDED"')


class Seen:
    def __init__(self) -> None:
        self.ready = asyncio.Semaphore(0)
        self.events = 0
        self.late: list[float] = []


async def watch(folder: Path, port: int, count: int, path: str) -> None:
    """Connect, say `ready`; at each line of standard input, tell what was seen since and begin anew."""
    authority = Authority.ensure(folder / "pki")
    tls = client_tls(authority.ca_pem, authority.client("admin", ("system:masters",)))
    seen, loop = Seen(), asyncio.get_running_loop()
    path += "?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    for start in range(0, count, 50):
        await asyncio.gather(*(
            loop.create_connection(lambda: Watcher(path, seen), "127.0.0.1", port, ssl=tls)
            for _ in range(min(50, count - start))
        ))  # fmt: skip
    for _ in range(count):
        await seen.ready.acquire()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while await loop.run_in_executor(None, sys.stdin.readline):
        late = sorted(seen.late) or [0.0]
        told = {"events": seen.events, "p50": late[len(late) // 2], "p99": late[int(len(late) * 0.99)]}
        seen.events, seen.late = 0, []
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


# What is measured.


def bare_commits(folder: Path, count: int, size: int) -> float:
    """Rows a second, one a commit, as durable as the server's."""
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE log (revision INTEGER PRIMARY KEY, value BLOB NOT NULL)")
        began = time.perf_counter()
        for _ in range(count):
            db.execute("INSERT INTO log (value) VALUES (?)", (b"x" * size,))
        return count / (time.perf_counter() - began)
    finally:
        db.close()


class Side:
    """The server under measurement, and a session of writers."""

    def __init__(self, folder: Path, port: int, pid: int, session: aiohttp.ClientSession) -> None:
        self.folder = folder
        self.url = f"https://127.0.0.1:{port}"
        self.port = port
        self.pid = pid
        self.session = session
        self._names = iter(range(10**9))

    async def create(self, path: str, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        async with self.session.post(self.url + path, data=body, headers=headers) as response:
            if response.status != 201:
                raise RuntimeError(await response.text())
            await response.read()

    async def pods(self, count: int, writers: int = WRITERS) -> float:
        """Creates a second by so many writers, each waiting for its answer."""
        todo = iter(range(count))

        async def one() -> None:
            for _ in todo:
                await self.create(PODS, pod(f"p{next(self._names)}"))

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(writers)))
        return count / (time.perf_counter() - began)

    async def stamped(self, count: int, every: float) -> None:
        """ConfigMaps at a steady pace that carry the moment of their writing."""
        for _ in range(count):
            meta = {"name": f"c{next(self._names)}"}
            body = {"metadata": meta, "data": {"stamp": str(time.monotonic_ns())}}
            await self.create(MAPS, json.dumps(body).encode())
            await asyncio.sleep(every)


def cost(side: Side, work: Awaitable[float], count: int) -> Callable[[], Awaitable[tuple[float, float]]]:
    async def run() -> tuple[float, float]:
        before = process_cpu(side.pid)
        rate = await work
        return rate, (process_cpu(side.pid) - before) / count * 1e3

    return run


async def measured(folder: Path, port: int, pid: int, scale: float, say: Say) -> list[Figure]:
    authority = Authority.ensure(folder / "pki")
    tls = client_tls(authority.ca_pem, authority.client("admin", ("system:masters",)))
    count, crowd = scaled(3000, scale, 20), scaled(WATCHERS, scale, 5)
    found = [Figure("memory at the start", resident(pid), "MiB")]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls, limit=0)) as session:
        side = Side(folder, port, pid, session)
        await side.create("/api/v1/namespaces/default/serviceaccounts", b'{"metadata":{"name":"default"}}')
        await side.pods(scaled(500, scale, 10))
        bare = bare_commits(folder, scaled(2000, scale, 20), len(pod("p")) * 2)
        say(f"{count} creates by {WRITERS} writers")
        rate, cpu = await cost(side, side.pods(count), count)()
        found += [
            Figure(f"durable creates, {WRITERS} writers", rate, "/s", bare, "bare commits", goal=300, more=True),
            Figure("server's CPU a create", cpu, "ms"),
            Figure(
                "durable creates, one writer", await side.pods(count // 6, 1), "/s", bare, "bare commits", more=True
            ),
        ]
        say(f"{crowd} watchers of something else, then of the same")
        with child("bench.apiserver", str(folder), str(port), str(crowd), MAPS) as watchers:
            told(watchers)
            found.append(Figure(f"memory with {crowd} watchers", resident(pid), "MiB"))
            beside = await side.pods(count)
            found.append(Figure(f"creates beside {crowd} watchers", beside, "/s", rate, "without", goal=300, more=True))
            for pace in (0.1, 0.02):
                await flush(watchers)
                await side.stamped(scaled(100, scale, 5), pace)
                await asyncio.sleep(0.5)
                late = await flush(watchers)
                at = f"write to event, {crowd} watchers, {round(1 / pace)} writes/s"
                found += [Figure(f"{at}: median", late["p50"], "ms"), Figure(f"{at}: 99 %", late["p99"], "ms")]
        with child("bench.apiserver", str(folder), str(port), str(crowd), PODS) as watchers:
            told(watchers)
            rate, cpu = await cost(side, side.pods(count // 6), count // 6)()
            found += [
                Figure(f"creates that {crowd} watchers see", rate, "/s", beside, "watched by none", more=True),
                Figure("server's CPU a create they see", cpu, "ms"),
            ]
        with child("bench.apiserver", str(folder), str(port), "1", MAPS) as watchers:
            told(watchers)
            await asyncio.sleep(0.2)
            await side.stamped(scaled(100, scale, 5), 0.01)
            await asyncio.sleep(0.2)
            late = await flush(watchers)
            found += [
                Figure("write to event, one watcher: median", late["p50"], "ms"),
                Figure("write to event, one watcher: 99 %", late["p99"], "ms"),
            ]
        found.append(Figure("memory at the end", resident(pid), "MiB"))
    return found


async def flush(watchers: subprocess.Popen[str]) -> Any:
    assert watchers.stdin is not None
    watchers.stdin.write("\n")
    watchers.stdin.flush()
    return json.loads(await asyncio.get_running_loop().run_in_executor(None, told, watchers))


def reopened(folder: Path) -> tuple[float, int]:
    """Seconds to read all of it again, and how many objects that is."""
    times, objects = [], 0
    for _ in range(3):
        began = time.perf_counter()
        storage = Storage.open(folder / "state.db")
        times.append(time.perf_counter() - began)
        objects = sum(len(storage.collection(name).items) for name in ("pods", "configmaps"))
        asyncio.run(storage.close())
    return median(times), objects


def figures(scale: float, say: Say) -> Iterator[Figure]:
    allow_files(8192)
    with TemporaryDirectory() as name:
        folder = Path(name)
        Authority.ensure(folder / "pki")
        began = time.perf_counter()
        with child("bench.api_process", str(folder)) as server:
            port = int(told(server))
            yield Figure("start until it answers", time.perf_counter() - began, "s")
            yield from uvloop.run(measured(folder, port, server.pid, scale, say))
        seconds, objects = reopened(folder)
        yield Figure(f"{objects:,} objects read again", seconds, "s")


if __name__ == "__main__":
    allow_files(8192)
    place, port, crowd, watched = sys.argv[1:]
    uvloop.run(watch(Path(place), int(port), int(crowd), watched))
