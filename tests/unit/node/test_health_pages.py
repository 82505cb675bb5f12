"""The node's pages: as probes and scrapers ask for them."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from clew.base.errors import UserError
from clew.facts.node import Node
from clew.node.health import FamilyHealth, Health
from clew.servers.pages import Page, answer, serve

NOW = datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC)


class Clock:
    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


PAGES = {"/healthz": lambda: Page(b"fine\n", headers=(("X-A", "b"),)), "/bad": lambda: Page(b"no\n", 503)}


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /healthz HTTP/1.1", b"200 OK", b"fine\n"),
        (b"GET /healthz?verbose HTTP/1.0", b"200 OK", b"fine\n"),
        (b"HEAD /healthz HTTP/1.1", b"200 OK", b""),
        (b"GET /bad HTTP/1.1", b"503 Service Unavailable", b"no\n"),
        (b"GET /none HTTP/1.1", b"404 Not Found", b"404 page not found\n"),
        (b"POST /healthz HTTP/1.1", b"405 Method Not Allowed", b"only GET and HEAD\n"),
        (b"nonsense", b"400 Bad Request", b"bad request\n"),
    ],
)
def test_answers(request_line: bytes, status: bytes, body: bytes) -> None:
    head, _, found = answer(request_line + b"\r\nHost: x\r\n\r\n", PAGES).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert found == body
    assert b"Connection: close" in head


async def test_over_a_socket() -> None:
    serving = asyncio.create_task(serve("127.0.0.1:0", PAGES))
    await asyncio.sleep(0)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    for wrong in ("127.0.0.1:port", "203.0.113.1:1"):
        with pytest.raises(UserError, match="cannot listen on"):
            await serve(wrong, PAGES)


def families(*, healthy: bool) -> dict[str, FamilyHealth]:
    return {"IPv4": FamilyHealth(NOW - timedelta(seconds=9), healthy), "IPv6": FamilyHealth(NOW, healthy=True)}


@pytest.mark.parametrize(
    ("node", "rules", "healthz", "livez"),
    [
        (Node("n"), True, 200, 200),
        (Node("n", going=True), True, 503, 200),
        (None, True, 503, 200),
        (Node("n"), False, 503, 503),
    ],
)
def test_a_balancer_and_a_kubelet_hear_different_things(
    node: Node | None, rules: bool, healthz: int, livez: int
) -> None:
    health = Health(Clock(), lambda: node, lambda: families(healthy=rules))
    assert (health.healthz().status, health.livez().status) == (healthz, livez)
    document = json.loads(health.healthz().body)
    assert document["nodeEligible"] == (node is not None and not node.going)
    assert document["healthy"] == (healthz == 200)
    assert document["currentTime"] == "2026-01-02 03:04:05.006000 +0000 UTC"
    assert document["status"]["IPv4"] == {"lastUpdated": "2026-01-02 03:03:56.006000 +0000 UTC", "healthy": rules}
    if not rules:
        assert document["lastUpdated"] != document["currentTime"] or document["status"]["IPv6"]["healthy"]
