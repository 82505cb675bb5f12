"""healthCheckNodePort: a page a service, on which a load balancer asks whether this node has backends of it.

Of Services of type LoadBalancer with externalTrafficPolicy Local; what to answer comes from compile (`HealthCheck`).
A port that is not to be had is a Problem of its Service and is tried again. Made by app/agent_proxy; fed by node/proxy.
Source: k8s.io/kubernetes pkg/proxy/healthcheck/service_health.go.
"""

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from clew.base.clock import Clock
from clew.base.errors import Problem, UserError
from clew.ir.balancing import HealthCheck
from clew.servers import pages
from clew.servers.pages import Page

Key = tuple[str, str]
AGAIN = 30.0  # seconds until a port is tried again


class ServiceHealth:
    """`healthy`: whether the proxy itself is; `answers`: whether node ports are open on an address of this node."""

    def __init__(
        self,
        healthy: Callable[[], bool],
        clock: Clock,
        answers: Callable[[str], bool] = lambda _address: True,
        on_problem: Callable[[Problem], None] = lambda _problem: None,
    ) -> None:
        self._healthy, self._clock = healthy, clock
        self._answers, self._on_problem = answers, on_problem
        self._checks: dict[Key, HealthCheck] = {}
        self._changed = asyncio.Event()

    @property
    def checks(self) -> Mapping[Key, HealthCheck]:
        return self._checks

    def set(self, key: Key, check: HealthCheck | None) -> None:
        """What to say of a service from now on; None: nothing."""
        if check is None:
            self._checks.pop(key, None)
        else:
            self._checks[key] = check
        self._changed.set()

    def page(self, key: Key) -> Page:
        check = self._checks.get(key)
        backends, healthy = check.backends if check else 0, self._healthy()
        namespace, name = key
        said = {
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": backends,
            "serviceProxyHealthy": healthy,
        }
        headers = (("X-Content-Type-Options", "nosniff"), ("X-Load-Balancing-Endpoint-Weight", str(backends)))
        body = msgspec.json.format(msgspec.json.encode(said), indent=8)
        return Page(body, 200 if backends and healthy else 503, "application/json", headers)

    async def run(self) -> None:
        """Until cancelled: one listener a service that has a port."""
        async with asyncio.TaskGroup() as group:
            listening: dict[Key, tuple[int, asyncio.Task[None]]] = {}
            try:
                while True:
                    self._changed.clear()
                    for key in [key for key, (port, _) in listening.items() if self._port(key) != port]:
                        _, task = listening.pop(key)
                        task.cancel()
                        await asyncio.wait([task])  # another service may want the port
                    for key, check in self._checks.items():
                        if key not in listening:
                            listening[key] = check.port, group.create_task(self._serve(key, check.port))
                    await self._changed.wait()
            finally:
                for _, task in listening.values():
                    task.cancel()

    def _port(self, key: Key) -> int:
        check = self._checks.get(key)
        return check.port if check else 0

    async def _serve(self, key: Key, port: int) -> None:
        while True:
            try:
                await pages.serve(f":{port}", {pages.ANY: lambda: self.page(key)}, self._answers)
            except UserError as refused:
                self._on_problem(Problem(f"Service {key[0]}/{key[1]}", "spec.healthCheckNodePort", refused.message))
                await self._clock.sleep(AGAIN)
