"""The feed with real reflectors on a source of the test's own: from an event to the answer, nothing waits."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Self, cast

from clew.api.kinds import ENDPOINT_SLICE, NAMESPACE, SERVICE, Kind
from clew.app.dns_feed import Feed
from clew.base.clock import SystemClock
from clew.base.metrics import Registry
from clew.facts import namespace, service
from clew.ir.names import Record
from clew.servers.dns.plugins.kubernetes import Watching
from clew.servers.dns.plugins.kubernetes.zones import ClusterZone
from clew.watch.client import Client, Page, WatchEvent

WEB = ("shop", "web")


def named(name: str, where: str = "", **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": where, "resourceVersion": "2"}, **fields}


def slice_of(*ips: str) -> dict[str, Any]:
    made = named("web-1", "shop", addressType="IPv4", endpoints=[{"addresses": [ip]} for ip in ips])
    made["metadata"]["labels"] = {"kubernetes.io/service-name": "web"}
    return made


class Source:
    """A client's two calls; `send` is an event."""

    def __init__(self, objects: dict[Kind, list[dict[str, Any]]]) -> None:
        self.objects = objects
        self.queues: dict[Kind, asyncio.Queue[WatchEvent]] = {kind: asyncio.Queue() for kind in objects}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def pages(self, kind: Kind, _namespace: str = "", **_: str) -> AsyncIterator[Page]:
        raws = [json.dumps(each).encode() for each in self.objects[kind]]
        yield Page(cast("Any", raws), "1")

    async def watch(self, kind: Kind, _namespace: str = "", **_: Any) -> AsyncGenerator[WatchEvent, None]:
        while True:
            yield await self.queues[kind].get()

    def send(self, kind: Kind, what: str, obj: dict[str, Any]) -> None:
        self.queues[kind].put_nowait(WatchEvent(what, json.dumps(obj).encode()))


async def test_an_event_is_in_the_next_answer() -> None:
    """Turns of the loop are counted, not seconds: no timer stands between."""
    source = Source(
        {
            NAMESPACE: [named("shop")],
            SERVICE: [named("web", "shop", spec={"clusterIP": "None", "clusterIPs": ["None"]})],
            ENDPOINT_SLICE: [slice_of("10.244.1.1")],
        }
    )
    feed = Feed(Watching(), (), SystemClock(), Registry())
    running = asyncio.ensure_future(feed.run(cast("Client", source)))

    def addresses() -> list[str]:
        return [each.data for each in feed.records(WEB, "cluster.local") if each.name == "web.shop.svc.cluster.local"]

    async def turns(expected: list[str]) -> int:
        for turn in range(100):
            if addresses() == expected and all(feed.holders(ip) for ip in expected):
                return turn
            await asyncio.sleep(0)
        raise AssertionError(addresses())

    try:
        await turns(["10.244.1.1"])
        assert feed.holders("10.244.1.1") == [WEB]
        source.send(ENDPOINT_SLICE, "MODIFIED", slice_of("10.244.1.2", "10.244.1.3"))
        assert await turns(["10.244.1.2", "10.244.1.3"]) < 20
        assert feed.holders("10.244.1.1") == []
        source.send(ENDPOINT_SLICE, "DELETED", slice_of())
        assert await turns([]) < 20
        source.send(SERVICE, "DELETED", named("web", "shop"))
        source.send(ENDPOINT_SLICE, "ADDED", slice_of("10.244.1.4"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert addresses() == [], "endpoints of no service have no names"
        assert feed.holders("10.244.1.4") == []
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_one_address_written_in_two_ways_is_one() -> None:
    feed = Feed(Watching(), (), SystemClock(), Registry())
    key, fact = service.decode(json.dumps(named("web", "shop", spec={"clusterIPs": ["FD00:0::7"]})).encode())
    assert fact is not None
    feed.namespaces.put(("", "shop"), namespace.Namespace("shop"))
    feed.services.put(key, fact)
    feed.feed()
    assert feed.holders("fd00::7") == [WEB]
    assert Record("web.shop.svc.cluster.local", "AAAA", "FD00:0::7") in feed.records(WEB, "cluster.local")


def test_a_flood_of_names_that_are_not_there_pushes_nothing_out() -> None:
    feed = Feed(Watching(), (), SystemClock(), Registry())
    key, fact = service.decode(json.dumps(named("web", "shop", spec={"clusterIPs": ["10.96.0.7"]})).encode())
    assert fact is not None
    feed.services.put(key, fact)
    feed.namespaces.put(("", "shop"), namespace.Namespace("shop"))
    feed.feed()
    zone = ClusterZone("cluster.local", 5, feed, "disabled")
    made = zone.names_of(WEB), feed.records(WEB, "cluster.local")
    for number in range(10_000):
        assert zone.find(zone.service_token(("shop", f"host-{number}"))) is None
    assert zone.names_of(WEB) is made[0]
    assert feed.records(WEB, "cluster.local") is made[1]
