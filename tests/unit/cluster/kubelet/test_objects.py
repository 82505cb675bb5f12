"""What pods refer to is asked for once a moment, and anew when somebody says that it has changed."""

import asyncio
from typing import Any

from clew.base.clock import SystemClock
from clew.cluster.kubelet.objects import ObjectCache


class Server:
    """Answers when it is let to, with what is true then."""

    def __init__(self) -> None:
        self.content = "old"
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def get(self, _kind: object, _name: str, _namespace: str) -> Any:
        self.asked += 1
        found = {"data": {"a": self.content}}
        await self.answers.wait()
        return found


async def content(cache: ObjectCache) -> str:
    found = await cache.get("ConfigMap", "n", "c")
    assert found is not None
    return str(found["data"]["a"])


async def test_a_change_within_a_moment_of_the_one_before_is_seen_once_it_is_told() -> None:
    """A lab that changed its network twice in two seconds kept its agents at the first change for a minute."""
    server = Server()
    cache = ObjectCache(server, SystemClock())  # type: ignore[arg-type]
    assert await content(cache) == await content(cache) == "old"
    assert server.asked == 1
    server.content = "new"
    assert await content(cache) == "old"
    cache.forget()
    assert await content(cache) == "new"


async def test_an_answer_that_is_on_its_way_then_is_not_kept() -> None:
    server = Server()
    cache = ObjectCache(server, SystemClock())  # type: ignore[arg-type]
    server.answers.clear()
    early = asyncio.create_task(content(cache))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    server.content = "new"
    cache.forget()
    server.answers.set()
    assert await early == "old"
    assert await content(cache) == "new"
