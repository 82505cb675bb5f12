"""healthCheckNodePort: what a load balancer hears, over real sockets of this machine's loopback."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.free_port import free_port

from clew.base.clock import SystemClock
from clew.ir.balancing import HealthCheck
from clew.node.service_health import ServiceHealth

WEB, OTHER = ("default", "web"), ("default", "other")


async def ask(port: int, path: str = "/") -> str:
    """Head and body of the answer; "" where the connection is closed without one."""
    async with asyncio.timeout(30):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)  # the listener is being opened
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with contextlib.suppress(ConnectionResetError):
            return (await reader.read()).decode()
        return ""


@contextlib.asynccontextmanager
async def running(health: ServiceHealth) -> AsyncIterator[None]:
    task = asyncio.ensure_future(health.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_node_with_backends_says_so_on_any_path() -> None:
    port = free_port()
    health = ServiceHealth(lambda: True, SystemClock())
    async with running(health):
        health.set(WEB, HealthCheck(port, 2))
        for path in ("/", "/healthz", "/anything?at=all"):
            head, _, body = (await ask(port, path)).partition("\r\n\r\n")
            assert head.startswith("HTTP/1.1 200 OK")
            assert "X-Load-Balancing-Endpoint-Weight: 2" in head
            assert "X-Content-Type-Options: nosniff" in head
            assert msgspec.json.decode(body) == {
                "service": {"namespace": "default", "name": "web"},
                "localEndpoints": 2,
                "serviceProxyHealthy": True,
            }


@pytest.mark.parametrize(("backends", "healthy"), [(0, True), (2, False)])
async def test_a_node_without_backends_or_out_of_sync_is_to_be_left_out(backends: int, healthy: bool) -> None:
    health = ServiceHealth(lambda: healthy, SystemClock())
    health.set(WEB, HealthCheck(1, backends))
    page = health.page(WEB)
    assert page.status == 503
    assert dict(page.headers)["X-Load-Balancing-Endpoint-Weight"] == str(backends)


async def test_a_port_moves_with_its_service() -> None:
    one, two = free_port(), free_port()
    health = ServiceHealth(lambda: True, SystemClock())
    async with running(health):
        health.set(WEB, HealthCheck(one, 1))
        assert "web" in await ask(one)
        health.set(WEB, HealthCheck(two, 1))
        health.set(OTHER, HealthCheck(one, 1))
        assert "web" in await ask(two)
        assert "other" in await ask(one)
        health.set(OTHER, None)
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", one)
                except ConnectionRefusedError:
                    break
                writer.close()


async def test_a_port_that_is_taken_is_a_problem_of_its_service_and_no_others() -> None:
    problems = []
    with socket.socket(socket.AF_INET6) as holder:
        holder.bind(("::", 0))
        holder.listen()
        taken, free = holder.getsockname()[1], free_port()
        health = ServiceHealth(lambda: True, SystemClock(), on_problem=problems.append)
        async with running(health):
            health.set(WEB, HealthCheck(taken, 1))
            health.set(OTHER, HealthCheck(free, 1))
            assert "other" in await ask(free)
    assert [(each.origin, each.field) for each in problems] == [("Service default/web", "spec.healthCheckNodePort")]


async def test_where_node_ports_are_not_open_nobody_answers() -> None:
    port = free_port()
    asked: list[str] = []

    def answers(address: str) -> bool:
        asked.append(address)
        return False

    health = ServiceHealth(lambda: True, SystemClock(), answers)
    async with running(health):
        health.set(WEB, HealthCheck(port, 1))
        assert await ask(port) == ""
    assert asked == ["127.0.0.1"]
