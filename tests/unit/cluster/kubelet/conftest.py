"""A pod's worker on a node that is none, in time that passes at once: a loop whose sleeps cost nothing."""

import asyncio
import functools
import json
import selectors
from collections.abc import Callable, Coroutine
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clew.api.kinds import POD
from clew.api.patch import strategic_merge_patch
from clew.cluster.images import Image
from clew.cluster.kubelet.config import KubeletConfig
from clew.cluster.kubelet.instances import PodRecords, by_pod, sandbox_of
from clew.cluster.kubelet.pod import PodWorker
from clew.cluster.kubelet.sandboxes import Sandboxes
from clew.cluster.kubelet.starting import Starter
from clew.cluster.kubelet.surroundings import Surroundings
from clew.cluster.runtime.fake import FakeNode
from clew.watch.errors import ApiError

CONFIG = KubeletConfig(
    node="node-1", addresses=("172.30.0.11",), cluster_dns=("10.96.0.10",), nameservers=("172.30.0.100",)
)


class _Selector(selectors.SelectSelector):
    """Where the loop would wait, its clock is moved instead."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            return super().select(5)  # somebody's thread
        self.loop.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 0.0
        chosen = _Selector()
        chosen.loop = self
        super().__init__(chosen)

    def time(self) -> float:
        return self.now


def in_no_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test, which has a `world`, on such a loop."""

    @functools.wraps(test)
    def run(world: "World", **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            try:
                runner.run(test(world=world, **arguments))
            finally:
                runner.run(world.close())

    return run


class LoopClock:
    """The loop's time; `slow` and `step` make it late, and let it pass between two looks, as real ones do."""

    def __init__(self) -> None:
        self.slow = 0.0
        self.step = 0.0
        self._looks = 0

    def monotonic(self) -> float:
        self._looks += 1
        return asyncio.get_running_loop().time() * (1 - self.slow) + self._looks * self.step

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=asyncio.get_running_loop().time())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FakeImages:
    """Every image is there but those in `missing`, which has the errors."""

    def __init__(self) -> None:
        self.missing: dict[str, Exception] = {}

    async def ensure(self, reference: str, policy: str) -> Image:
        del policy
        if reference in self.missing:
            raise self.missing[reference]
        return Image(reference, "sha256:1", ("/nowhere",))


class FakeApi:
    """Pods and the objects behind them; a change is told by the watch a moment later."""

    def __init__(self) -> None:
        self.pods: dict[str, Any] = {}
        self.objects: dict[tuple[str, str], Any] = {}
        self.watchers: dict[str, PodWorker] = {}
        self.writes = 0
        self.held = False  # by finalizers: what is deleted stays
        self._version = 0

    def put(self, pod: Any) -> Any:
        self._version += 1
        pod = deepcopy(pod)
        pod["metadata"]["resourceVersion"] = str(self._version)
        name = pod["metadata"]["name"]
        self.pods[name] = pod
        if (worker := self.watchers.get(name)) is not None:
            asyncio.get_running_loop().call_later(0.002, worker.update, deepcopy(pod))
        return deepcopy(pod)

    def change(self, name: str, **fields: Any) -> None:
        """Somebody else changes the pod's metadata or status."""
        pod = self.pods[name]
        self.put({**pod, **{field: {**pod.get(field, {}), **value} for field, value in fields.items()}})

    async def patch(self, kind: Any, name: str, body: Any, *_: Any, **__: Any) -> Any:
        assert kind is POD
        await asyncio.sleep(0.001)
        self.writes += 1
        if name not in self.pods:
            raise ApiError(404, "NotFound", name)
        return self.put(strategic_merge_patch(POD, self.pods[name], {"status": body["status"]}))

    async def delete(self, kind: Any, name: str, *_: Any, **__: Any) -> None:
        del kind
        if self.held:
            return
        self.pods.pop(name, None)
        self.watchers[name].vanish()

    async def get(self, kind: Any, name: str, namespace: str = "") -> Any:
        del namespace
        if (kind.kind, name) not in self.objects:
            raise ApiError(404, "NotFound", name)
        return self.objects[kind.kind, name]


class FakeRecorder:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.parts: list[tuple[str, str]] = []  # reason, the part of the pod that it is about

    async def record(self, obj: Any, type: str, reason: str, message: str) -> None:  # noqa: A002 - Event's own word
        del type
        self.told.append((reason, message))
        self.parts.append((reason, obj.get("fieldPath", "")))

    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.told]


class Paths:
    def __init__(self, tree: Path) -> None:
        self.name = "unit"
        self._tree = tree

    def node_tree(self, node: str) -> Path:
        return self._tree / node


def cni_answer(env: dict[str, str]) -> dict[str, Any]:
    result = {"cniVersion": "1.1.0", "ips": [{"address": "10.244.0.7/24"}]} if env["CNI_COMMAND"] == "ADD" else {}
    return {"code": 0, "signal": 0, "stdout": json.dumps(result), "stderr": "", "timed_out": False}


class World:
    """A node, an API server and the workers of pods."""

    def __init__(self, tree: Path) -> None:
        self.clock = LoopClock()
        self.paths = Paths(tree)
        self.node = FakeNode(self.paths, "node-1", self.clock)  # type: ignore[arg-type]
        self.node.programs = cni_answer
        self.node.listen(self._event)
        self.api = FakeApi()
        self.images = FakeImages()
        self.events = FakeRecorder()
        folder = tree / "node-1/etc/cni/net.d"
        folder.mkdir(parents=True)
        plugins = [{"type": "clew-cni"}]
        (folder / "10.conflist").write_text(json.dumps({"name": "n", "cniVersion": "1.1.0", "plugins": plugins}))
        self.around = Surroundings(
            self.api,
            CONFIG,
            self.node,
            self.images,
            self.events,
            self.clock,
            {"cpu": 2, "memory": 1 << 30},  # type: ignore[arg-type]
        )
        self.around.network_problem = ""
        self.around.services.replace({})
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def listed(self) -> Any:
        """What the node knows, without a moment passing."""
        return self.node._list()

    def start(self, pod: Any) -> PodWorker:
        """The pod is bound to the node, or the daemon has come back."""
        name = pod["metadata"]["name"]
        kept = self.api.pods.get(name) or self.api.put(pod)
        listed = self.listed()
        uid = kept["metadata"]["uid"]
        records = by_pod(listed["sandboxes"], listed["containers"]).get(uid) or PodRecords("default", name, uid)
        worker = PodWorker(self.around, Starter(self.around), Sandboxes(self.around), deepcopy(kept), records)
        self.api.watchers[name] = worker
        self.tasks[name] = asyncio.create_task(worker.run())
        return worker

    async def crash(self, name: str) -> None:
        """The daemon dies: its tasks end, the node goes on."""
        self.api.watchers.pop(name)
        task = self.tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], object], seconds: float = 600) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert asyncio.get_running_loop().time() < end, (self.events.told, self.api.pods)
            await asyncio.sleep(0.01)

    def status(self, name: str = "p") -> Any:
        return self.api.pods[name].get("status", {})

    def container(self, name: str = "p", index: int = 0, field: str = "containerStatuses") -> Any:
        listed = self.status(name).get(field) or []
        return listed[index] if len(listed) > index else {"state": {}, "restartCount": 0}

    def running(self, name: str = "p", index: int = 0, field: str = "containerStatuses") -> bool:
        return "running" in self.container(name, index, field)["state"]

    async def close(self) -> None:
        for name in list(self.tasks):
            await self.crash(name)
        await self.around.tasks.end()

    def _event(self, event: Any) -> None:
        record = event["record"]
        for worker in self.api.watchers.values():
            if worker.uid == record["labels"]["uid"]:
                if event["event"] == "container":
                    worker.exited(record)
                else:
                    worker.sandbox_lost(sandbox_of(record))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def pod(*containers: Any, name: str = "p", **spec: Any) -> Any:
    """A pod whose containers are given by their command, or whole."""
    listed = [
        each if isinstance(each, dict) else {"name": chr(ord("a") + index), "image": "busybox", "command": each}
        for index, each in enumerate(containers or (["sleep", "9999"],))
    ]
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": {}},
        "spec": {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "containers": listed, **spec},
    }  # fmt: skip
