"""A real API server on loopback with TLS, and a kubeconfig for its administrator."""

import asyncio
import base64
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clew.base.clock import SystemClock
from clew.cluster.apiserver import ApiServer, ApiServerOptions, ServerPki
from clew.cluster.ca import Authority, client_tls, server_tls
from clew.cluster.storage import Storage
from clew.cluster.streams import StreamError
from clew.watch.client import Client


class NoNodes:
    """Streams of a cluster without nodes."""

    async def run(self, *_: object) -> Any:
        raise StreamError(400, "no node")

    attach = logs = connect = run


OPTIONS = ApiServerOptions(("10.96.0.0/16",), advertise=(("192.0.2.1", 6443),))


class ShiftedClock(SystemClock):
    """The machine's clock, put forward by a test."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


class Running:
    """A server in a thread of its own, so that a blocking kubectl can be run beside it."""

    nodes: Any = NoNodes()

    def __init__(self, folder: Path, options: ApiServerOptions = OPTIONS, history: int = 10_000) -> None:
        self.clock = ShiftedClock()
        self.history = history
        self.folder = folder
        self.authority = Authority.ensure(folder / "pki")
        self.options = options
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._failure: BaseException | None = None

    def start(self) -> "Running":
        self._thread.start()
        assert self._ready.wait(60)
        if self._failure:
            raise self._failure
        return self

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._begin())
        except BaseException as failure:  # noqa: BLE001 - told to the test
            self._failure = failure
        finally:
            self._ready.set()
        if not self._failure:
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _begin(self) -> None:
        self.storage = Storage.open(self.folder / "state.db", history=self.history)
        pki = ServerPki(self.authority.ca_pem, self.authority.service_account_key())
        self.server = ApiServer(self.storage, self.options, pki, self.nodes, self.clock)
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        credential = self.authority.server(["localhost"], ["127.0.0.1"])
        await self.server.start([sock], server_tls(credential, self.authority.ca_pem))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Something done on the server's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def stop(self) -> None:
        async def end() -> None:
            await self.server.stop()
            await self.storage.close()

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def client(self, user: str = "admin", groups: tuple[str, ...] = ("system:masters",)) -> Client:
        return Client(self.url, ssl=client_tls(self.authority.ca_pem, self.authority.client(user, groups)))

    def kubeconfig(self, user: str = "admin", groups: tuple[str, ...] = ("system:masters",)) -> Path:
        credential = self.authority.client(user, groups)
        encoded = [base64.b64encode(pem).decode() for pem in credential]
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": self.url, "certificate-authority-data": base64.b64encode(self.authority.ca_pem).decode()}}],
            "users": [{"name": "u", "user": {
                "client-certificate-data": encoded[0], "client-key-data": encoded[1]}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }  # fmt: skip
        path = self.folder / f"kubeconfig-{user}"
        path.write_text(json.dumps(config))
        return path


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    server = Running(tmp_path).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def admin(running: Running) -> AsyncIterator[Client]:
    client = running.client()
    try:
        yield client
    finally:
        await client.close()


Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def kubectl(running: Running) -> Kubectl:
    """The real kubectl against the server; the program on PATH."""
    program = shutil.which("kubectl")
    assert program, "kubectl is needed on PATH"
    config = running.kubeconfig()

    def call(*arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBECONFIG": str(config), "HOME": str(running.folder)}
        done = subprocess.run(
            [program, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return call


class Answer(NamedTuple):
    code: int
    obj: Any
    warnings: list[str]
    text: str
    location: str

    @property
    def causes(self) -> list[tuple[str, str, str]]:
        """(field, reason, message) of each."""
        causes = (self.obj.get("details") or {}).get("causes") or []
        return [(each.get("field", ""), each.get("reason", ""), each["message"]) for each in causes]


class Raw:
    """One request over HTTPS and its answer, body and headers as given."""

    def __init__(
        self, running: Running, user: str = "admin", groups: tuple[str, ...] = ("system:masters",), token: str = ""
    ) -> None:
        credential = None if token else running.authority.client(user, groups)
        self._tls = client_tls(running.authority.ca_pem, credential)
        self._token = token
        self._connection = http.client.HTTPSConnection("127.0.0.1", running.port, context=self._tls, timeout=60)

    def __call__(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
    ) -> Answer:
        raw = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if raw is not None:
            sent["Content-Type"] = content_type
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        self._connection.request(method, path, raw, sent)
        response = self._connection.getresponse()
        text = response.read().decode()
        warnings = [each[len('299 - "') : -1].replace('\\"', '"') for each in response.headers.get_all("Warning") or ()]
        is_json = response.headers.get_content_type() == "application/json"
        return Answer(response.status, json.loads(text) if is_json and text else None, warnings, text,
                      response.headers.get("Location", ""))  # fmt: skip

    @contextmanager
    def watch(self, path: str, **headers: str) -> Iterator["Watching"]:
        """A watch on a connection of its own."""
        connection = http.client.HTTPSConnection("127.0.0.1", self._connection.port, context=self._tls, timeout=60)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", f"{path}{'&' if '?' in path else '?'}watch=1", headers=sent)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            yield Watching(response)
        finally:
            connection.close()

    def close(self) -> None:
        self._connection.close()


class Watching:
    """The events of a watch, one after the other; TimeoutError after ten seconds of silence."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def next(self) -> Any:
        """(type, object), or None at the end."""
        line = self._response.readline()
        if not line:
            return None
        event = json.loads(line)
        return event["type"], event["object"]

    def named(self, count: int) -> list[tuple[str, str]]:
        """(type, name) of the next events."""
        return [(kind, obj["metadata"]["name"]) for kind, obj in (self.next() for _ in range(count))]

    def rest(self) -> list[Any]:
        return list(iter(self.next, None))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for a table of cases that leave nothing behind."""
    server = Running(tmp_path_factory.mktemp("server")).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def ask(shared: Running) -> Iterator[Raw]:
    raw = Raw(shared)
    yield raw
    raw.close()


@pytest.fixture
def call(running: Running) -> Iterator[Raw]:
    raw = Raw(running)
    yield raw
    raw.close()
