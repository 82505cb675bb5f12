"""Controllers that are restarted, a server that goes away, writes that fail or whose answers are lost."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from clew.api.kinds import (
    DAEMON_SET,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    ENDPOINTS,
    KINDS,
    NODE,
    POD,
    REPLICA_SET,
    SERVICE,
    Kind,
)
from clew.api.objects import Object, dig, is_deleting, name_of
from clew.cluster.controllers import ControllerOptions, run_controllers
from clew.cluster.scheduler import run_scheduler
from clew.watch.client import Client, WatchEvent
from clew.watch.errors import ApiError, Unreachable
from clew.watch.informer import Informer

PLAIN = ControllerOptions(ca_pem="x")
FAILS, LOSES = 0.1, 0.1  # of all writes: refused; done, but the answer is lost


class UnreliableClient(Client):
    """Every fifth write goes wrong, one way or the other."""

    random = random.Random(12)
    faults = 0

    async def _try(self, write: Callable[[], Awaitable[Any]]) -> Any:
        luck = self.random.random()
        UnreliableClient.faults += luck < FAILS + LOSES
        if luck < FAILS:
            raise ApiError(500, "InternalError", "made to fail")
        done = await write()
        if luck < FAILS + LOSES:
            raise Unreachable(self.server, ConnectionResetError("made to be lost"))
        return done

    async def create(
        self, kind: Kind, obj: Object, namespace: str = "", subresource: str = "", name: str = ""
    ) -> Object:
        create = super().create
        return dict(await self._try(lambda: create(kind, obj, namespace, subresource, name)))

    async def update(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        update = super().update
        return dict(await self._try(lambda: update(kind, obj, subresource)))

    async def patch(self, kind: Kind, name: str, body: Any, namespace: str = "", **more: Any) -> Object:
        patch = super().patch
        return dict(await self._try(lambda: patch(kind, name, body, namespace, **more)))

    async def delete(self, kind: Kind, name: str, namespace: str = "", **more: Any) -> None:
        delete = super().delete
        await self._try(lambda: delete(kind, name, namespace, **more))


class LateClient(Client):
    """Hears of every change a tenth of a second late, as a watch from afar does."""

    async def watch(self, *arguments: Any, **more: Any) -> AsyncGenerator[WatchEvent, None]:
        late: asyncio.Queue[WatchEvent] = asyncio.Queue()
        watching = super().watch

        async def follow() -> None:
            async for event in watching(*arguments, **more):
                asyncio.get_running_loop().call_later(0.1, late.put_nowait, event)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            while True:
                yield await late.get()


def workload(kind: Kind, name: str, image: str = "nginx", **spec: Any) -> Object:
    template = {"metadata": {"labels": {"run": name}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"run": name}}, "template": template, **spec},
    }  # fmt: skip


def service(name: str) -> Object:
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"run": name}, "ports": [{"port": 80}]},
    }  # fmt: skip


async def running(pods: list[Object], image: str, count: int) -> bool:
    images = [pod["spec"]["containers"][0]["image"] for pod in pods if not is_deleting(pod)]
    return images == [image] * count and all(dig(pod, "status", "podIP") for pod in pods)


def watermarks(bare: Any, sets: Informer) -> Counter[str]:
    """The most pods that any owner ever had, by its name, and the most that all ReplicaSets together asked for."""
    most: Counter[str] = Counter()

    def count(_: Object | None, __: Object | None) -> None:
        there = (each for each in bare.kubelets.pods.items() if not is_deleting(each))
        for name, number in Counter(each["metadata"]["ownerReferences"][0]["name"] for each in there).items():
            most[name] = max(most[name], number)

    def add_up(_: Object | None, __: Object | None) -> None:
        most["asked for"] = max(most["asked for"], sum(each["spec"]["replicas"] for each in sets.items()))

    bare.kubelets.pods.subscribe(count)
    sets.subscribe(add_up)
    return most


async def test_writes_that_fail_or_are_lost_delay_but_never_overshoot(bare: Any) -> None:
    UnreliableClient.random = random.Random(12)

    def unreliable(component: str) -> Client:
        client = bare.client_for(component)
        client.__class__ = UnreliableClient
        return client  # type: ignore[no-any-return]  # it is one

    scheduling = unreliable("kube-scheduler")
    sets = Informer(bare.admin, REPLICA_SET)
    most = watermarks(bare, sets)
    tasks = [
        asyncio.create_task(sets.run()),
        asyncio.create_task(run_controllers(unreliable, PLAIN)),
        asyncio.create_task(run_scheduler(scheduling)),
        asyncio.create_task(bare.kubelets.run()),
    ]
    try:
        for number in (1, 2, 3):
            await bare.add_node(f"node-{number}")
        await bare.admin.create(SERVICE, service("web"))
        await bare.admin.create(DEPLOYMENT, workload(DEPLOYMENT, "web", replicas=8))
        await bare.admin.create(DAEMON_SET, workload(DAEMON_SET, "agent"))
        for image in ("nginx", "nginx:2"):
            change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
            await bare.admin.patch(DEPLOYMENT, "web", change, "default")
            await bare.admin.patch(DAEMON_SET, "agent", change, "default")

            async def there(image: str = image) -> bool:
                pods = (await bare.admin.list(POD, "default")).items
                return await running(pods, image, 11)

            await bare.until(there, 50)
        blocks = [block for node in (await bare.admin.list(NODE)).items for block in node["spec"]["podCIDRs"]]
        assert len(blocks) == len(set(blocks)) == 3
        assert most.pop("asked for") == 10  # 25 % of 8 more than wanted
        assert most.pop("agent") == 3
        assert list(most.values()) == [8, 8]
        assert UnreliableClient.faults > 20

        async def answers() -> bool:
            slices = (await bare.admin.list(ENDPOINT_SLICE, "default", labels="kubernetes.io/service-name=web")).items
            ready = [each for piece in slices for each in piece["endpoints"] or () if each["conditions"]["ready"]]
            addresses = [each["addresses"][0] for each in ready]
            return len(slices) == 1 and len(addresses) == len(set(addresses)) == 8

        await bare.until(answers, 20)
    finally:
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await scheduling.close()


async def test_a_late_view_makes_nothing_twice(bare: Any) -> None:
    made: Counter[str] = Counter()

    def late(component: str) -> Client:
        client = bare.client_for(component)
        client.__class__ = LateClient
        return client  # type: ignore[no-any-return]  # it is one

    def count(before: Object | None, after: Object | None) -> None:
        if before is None and after is not None:
            made[after["metadata"]["labels"]["run"]] += 1

    bare.kubelets.pods.subscribe(count)
    slices: Counter[str] = Counter()
    scheduling = bare.client_for("kube-scheduler")
    tasks = [
        asyncio.create_task(run_controllers(late, PLAIN)),
        asyncio.create_task(run_scheduler(scheduling)),
        asyncio.create_task(bare.kubelets.run()),
    ]
    try:
        for number in (1, 2, 3):
            await bare.add_node(f"node-{number}")
        await bare.admin.create(SERVICE, service("web"))
        await bare.admin.create(DEPLOYMENT, workload(DEPLOYMENT, "web", replicas=8))
        await bare.admin.create(DAEMON_SET, workload(DAEMON_SET, "agent"))

        async def there() -> bool:
            for each in (await bare.admin.list(ENDPOINT_SLICE, "default")).items:
                slices[name_of(each)] += 1
            return await running((await bare.admin.list(POD, "default")).items, "nginx", 11)

        await bare.until(there)
        await settled(bare)
        assert made == {"web": 8, "agent": 3}
        assert len([name for name in slices if name.startswith("web-")]) == 1
        blocks = [block for node in (await bare.admin.list(NODE)).items for block in node["spec"]["podCIDRs"]]
        assert len(blocks) == len(set(blocks)) == 3
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await scheduling.close()


async def versions(plane: Any) -> dict[tuple[str, str], str]:
    found = {}
    for kind in (POD, REPLICA_SET, DEPLOYMENT, DAEMON_SET, SERVICE, ENDPOINTS, ENDPOINT_SLICE, NODE):
        assert kind in KINDS
        for obj in (await plane.admin.list(kind)).items:
            found[kind.kind, name_of(obj)] = obj["metadata"]["resourceVersion"]
    return found


async def settled(plane: Any) -> dict[tuple[str, str], str]:
    """The versions of everything, as soon as they stay the same."""
    last: dict[tuple[str, str], str] = {}

    async def same() -> bool:
        nonlocal last
        before, last = last, await versions(plane)
        await asyncio.sleep(0.3)
        return before == last

    await plane.until(same)
    return last


async def test_a_restart_of_the_controllers_changes_nothing(bare: Any) -> None:
    for turn in range(3):
        scheduling = bare.client_for("kube-scheduler")
        tasks = [
            asyncio.create_task(run_controllers(bare.client_for, PLAIN)),
            asyncio.create_task(run_scheduler(scheduling)),
        ]
        if turn == 0:
            hollow = asyncio.create_task(bare.kubelets.run())
            for number in (1, 2):
                await bare.add_node(f"node-{number}")
            await bare.admin.create(SERVICE, service("web"))
            await bare.admin.create(DEPLOYMENT, workload(DEPLOYMENT, "web", replicas=3))
            await bare.admin.create(DAEMON_SET, workload(DAEMON_SET, "agent"))

            async def there() -> bool:
                return await running((await bare.admin.list(POD, "default")).items, "nginx", 5)

            await bare.until(there)
            first = await settled(bare)
        else:
            assert await settled(bare) == first
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await scheduling.close()
    hollow.cancel()


async def test_the_server_comes_back_and_work_goes_on(plane: Any) -> None:
    await plane.add_node("node-1")
    await plane.admin.create(DEPLOYMENT, workload(DEPLOYMENT, "web", replicas=2))

    async def there(count: int) -> bool:
        return await running((await plane.admin.list(POD, "default")).items, "nginx", count)

    await plane.until(lambda: there(2))
    await plane.restart()
    await plane.admin.patch(DEPLOYMENT, "web", {"spec": {"replicas": 4}}, "default")
    await plane.until(lambda: there(4), 30)
