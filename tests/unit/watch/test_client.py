import asyncio
import json
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clew.api.kinds import NODE, POD
from clew.base.errors import UserError
from clew.watch.client import ApiError, Client, Unreachable
from clew.watch.credentials import TokenFile, in_cluster


def status(code: int, reason: str, message: str, **more: Any) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    headers = {"Retry-After": more.pop("retry_after")} if "retry_after" in more else {}
    return web.json_response(body | {"message": message} | more, status=code, headers=headers)


async def test_a_refusal_carries_the_servers_words(server: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        return status(404, "NotFound", 'pods "x" not found', details={"name": "x", "kind": "pods"})

    server.answer = answer
    async with Client(server.url) as client:
        with pytest.raises(ApiError) as caught:
            await client.get(POD, "x", "default")
    assert caught.value.not_found
    assert caught.value.reason == "NotFound"
    assert caught.value.message == 'pods "x" not found'
    assert caught.value.details["name"] == "x"
    assert server.requests[0].path == "/api/v1/namespaces/default/pods/x"


async def test_an_answer_that_is_no_status_becomes_the_message(server: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=502, text="bad gateway\n")

    server.answer = answer
    async with Client(server.url) as client:
        with pytest.raises(ApiError, match="bad gateway"):
            await client.get(NODE, "n")


async def test_a_server_that_is_busy_is_asked_again_when_it_says(server: Any) -> None:
    answers = [status(429, "TooManyRequests", "wait", retry_after="0"), web.json_response({"metadata": {}})]

    async def answer(_: web.Request) -> web.Response:
        return answers.pop(0)

    server.answer = answer
    async with Client(server.url) as client:
        await client.create(POD, {"metadata": {"name": "x", "namespace": "d"}})
    assert [request.method for request in server.requests] == ["POST", "POST"]


async def test_a_write_that_lost_its_connection_is_not_sent_twice(server: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.answer = answer
    async with Client(server.url) as client:
        with pytest.raises(Unreachable):
            await client.create(POD, {"metadata": {"name": "x", "namespace": "d"}})
    assert len(server.requests) == 1


async def test_who_is_late_is_not_asked_again_at_once(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a slow machine every time-out doubled its requests, and their server never came to the end of them."""
    monkeypatch.setattr("clew.watch.transport.REQUEST_TIMEOUT", 0.2)

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    server.answer = answer
    async with Client(server.url) as client:
        with pytest.raises(Unreachable, match="no answer in time"):
            await client.get(NODE, "n")
    assert len(server.requests) == 1


async def test_lists_are_read_page_by_page(server: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        more = "continue" not in request.query
        meta = {"resourceVersion": "7"} | ({"continue": "next"} if more else {})
        name = "a" if more else "b"
        return web.json_response({"metadata": meta, "items": [{"metadata": {"name": name}}]})

    server.answer = answer
    async with Client(server.url) as client:
        found = await client.list(POD, "d", labels="a=b", fields="spec.nodeName=n")
    assert [item["metadata"]["name"] for item in found.items] == ["a", "b"]
    assert found.items[0]["kind"] == "Pod"
    assert found.items[0]["apiVersion"] == "v1"
    assert found.resource_version == "7"
    assert server.requests[0].query["labelSelector"] == "a=b"
    assert server.requests[1].query["continue"] == "next"
    assert server.requests[1].query["labelSelector"] == "a=b"


async def test_a_watch_yields_events_as_they_arrive_however_large(server: Any) -> None:
    first_seen = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n{"type":"MODI')
        await first_seen.wait()  # were the first event held back until more arrives, this would never end
        await response.write(b'FIED","object":{"pad":"' + b"x" * 3_000_000 + b'"}}\n')
        return response

    server.answer = answer
    seen: list[tuple[str, int]] = []
    async with Client(server.url) as client, aclosing(client.watch(POD, resource_version="5")) as events:
        async for event in events:
            seen.append((event.type, len(event.object)))
            first_seen.set()
    assert seen == [("ADDED", 25), ("MODIFIED", 3_000_010)]
    assert server.requests[0].query["resourceVersion"] == "5"
    assert server.requests[0].query["allowWatchBookmarks"] == "true"


async def test_an_error_event_is_raised(server: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version: 1 (9)"}
        return web.Response(text=json.dumps({"type": "ERROR", "object": gone}) + "\n")

    server.answer = answer
    async with Client(server.url) as client:
        with pytest.raises(ApiError, match="too old") as caught:
            async for _ in client.watch(POD, resource_version="1"):
                pass
    assert caught.value.gone


async def test_a_rotated_token_is_read_again(server: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    async with Client(server.url, token=TokenFile(token)) as client:
        await client.get(NODE, "n")
        fresh = tmp_path / "fresh"
        fresh.write_text("two\n")
        fresh.rename(token)
        await client.get(NODE, "n")
    assert [request.headers["Authorization"] for request in server.requests] == ["Bearer one", "Bearer two"]


async def test_deletion_carries_its_options(server: Any) -> None:
    async with Client(server.url) as client:
        await client.delete(POD, "x", "d", uid="u", grace_period=0, propagation="Foreground")
    assert json.loads(server.bodies[0]) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": "u"},
        "gracePeriodSeconds": 0,
    }


async def test_nobody_there_is_said_in_one_line() -> None:
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(Unreachable, match=r"cannot reach http://127\.0\.0\.1:1"):
            await client.get(NODE, "n")


def test_importing_the_client_loads_no_http_library() -> None:
    code = "import sys, clew.watch.client, clew.watch.reflector; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_outside_of_a_pod(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="KUBERNETES_SERVICE_HOST"):
        in_cluster(tmp_path, {})
    with pytest.raises(UserError, match="service account"):
        in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"})


def test_in_a_pod(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("")
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("kube-system\n")
    access = in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"})
    assert access.server == "https://[fd00::1]:6443"
    assert access.namespace == "kube-system"
    assert access.token is not None
    assert access.token() == "t"
