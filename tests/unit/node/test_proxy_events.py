"""Problems told as Events on their objects."""

import asyncio
from typing import Any

from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.base.errors import Problem
from clew.node.proxy_events import ProblemTeller
from clew.watch.errors import ApiError


class Cluster:
    """Services and slices by name, and the Events that were written."""

    def __init__(self, *known: tuple[str, str]) -> None:
        self._known = known
        self.events: list[Object] = []
        self.written = asyncio.Event()

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        if (kind.kind, name) not in self._known:
            raise ApiError(404, "NotFound", f"{name} not found")
        return {
            "kind": kind.kind,
            "apiVersion": kind.api_version,
            "metadata": {"name": name, "namespace": namespace, "uid": f"uid-of-{name}"},
        }

    async def create(self, _kind: Kind, obj: Object, _namespace: str = "") -> Object:
        self.events.append(obj)
        self.written.set()
        return obj

    async def patch(self, _kind: Kind, _name: str, _body: Any, _namespace: str = "") -> Object:
        raise AssertionError("said once")


async def test_a_problem_is_an_event_on_its_object() -> None:
    cluster = Cluster(("Service", "web"), ("EndpointSlice", "web-1"))
    teller = ProblemTeller("node-1")
    teller.tell(Problem("Service default/gone", "spec", "nobody is left to be told"))
    teller.tell(Problem("Service default/web", "spec.ports[0].nodePort", "node port 30080/TCP belongs to another"))
    teller.tell(Problem("EndpointSlice default/web-1", "", "cannot be read"))
    task = asyncio.ensure_future(teller.run(cluster))
    try:
        async with asyncio.timeout(30):
            while len(cluster.events) < 3:
                cluster.written.clear()
                await cluster.written.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    start, first, second = cluster.events
    assert start["involvedObject"]["kind"] == "Node"
    assert (start["type"], start["reason"], start["message"]) == ("Normal", "Starting", "")
    assert first["involvedObject"]["uid"] == "uid-of-web"
    assert first["source"] == {"component": "kube-proxy", "host": "node-1"}
    assert (first["type"], first["reason"]) == ("Warning", "ServiceNotProxied")
    assert first["message"] == "spec.ports[0].nodePort: node port 30080/TCP belongs to another"
    assert second["involvedObject"]["kind"] == "EndpointSlice"
