"""The kubelet's loop: the node's object and lease, the pods bound to it, one worker a pod."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from clew.api.kinds import NODE, POD
from clew.api.objects import Key, Object, key_of, uid_of
from clew.base.clock import Clock, SystemClock, rfc3339
from clew.cluster.images.service import ImageService
from clew.cluster.kubelet.cni import Cni
from clew.cluster.kubelet.config import KubeletConfig
from clew.cluster.kubelet.node_status import node_object, node_status
from clew.cluster.kubelet.worker import PodWorker
from clew.cluster.oci.handle import NodeError, NodeHandle
from clew.watch.client import STRATEGIC, Client
from clew.watch.errors import ApiError
from clew.watch.events import EventRecorder
from clew.watch.leases import LeaseKeeper
from clew.watch.reflector import Reflector

logger = logging.getLogger(__name__)

_AT_ONCE = 4  # sandboxes and containers that are made at the same time


def _pod(data: bytes) -> tuple[Key, Object | None]:
    obj: Object = msgspec.json.decode(data)
    obj["apiVersion"], obj["kind"] = "v1", "Pod"
    return key_of(obj), obj


class Kubelet:
    """One node's. `run` for ever; a supervisor that died is started again by whoever holds the handle."""

    def __init__(
        self,
        client: Client,
        config: KubeletConfig,
        handle: NodeHandle,
        images: ImageService,
        recorder: EventRecorder,
        clock: Clock | None = None,
    ) -> None:
        self.client = client
        self.config = config
        self.handle = handle
        self.images = images
        self.recorder = recorder
        self.clock = clock or SystemClock()
        self.cni = Cni(handle, handle.paths.node_tree(config.node) / "etc/upper/cni/net.d")
        self.gate = asyncio.Semaphore(_AT_ONCE)
        self.pods: dict[Key, Object] = {}
        self.workers: dict[str, PodWorker] = {}
        self.records: dict[str, list[dict[str, Any]]] = {}  # of containers found at the start, by pod uid
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._status: Object = {}

    @property
    def pods_folder(self) -> Path:
        """Where we see the node's /var/lib/kubelet/pods."""
        return self.handle.paths.node_tree(self.config.node) / "var/lib/kubelet/pods"

    # Sink of the reflector.

    def replace(self, items: Mapping[Key, Object]) -> None:
        for key in [key for key in self.pods if key not in items]:
            self.put(key, None)
        for key, pod in items.items():
            self.put(key, pod)
        alive = {uid_of(pod) for pod in items.values()}
        for uid, records in list(self.records.items()):
            if uid not in alive:
                self._orphan(uid, records)

    def put(self, key: Key, fact: Object | None) -> None:
        before = self.pods.get(key)
        if before is not None and (fact is None or uid_of(fact) != uid_of(before)):
            self.pods.pop(key, None)
            worker = self.workers.get(uid_of(before))
            if worker is not None:
                worker.gone()
        if fact is None:
            return
        self.pods[key] = fact
        uid = uid_of(fact)
        if uid not in self.workers:
            worker = self.workers[uid] = PodWorker(self, fact, self.records.pop(uid, []))
            task = self._tasks[uid] = asyncio.ensure_future(worker.run())
            task.add_done_callback(lambda _: self._ended(uid))
        else:
            self.workers[uid].update(fact)

    def _ended(self, uid: str) -> None:
        self.workers.pop(uid, None)
        task = self._tasks.pop(uid, None)
        if task is not None and not task.cancelled() and task.exception() is not None:
            logger.error("worker of pod %s ended", uid, exc_info=task.exception())

    def _orphan(self, uid: str, records: list[dict[str, Any]]) -> None:
        """Containers of a pod that no longer exists: end them as if it had been deleted."""
        labels = records[0]["labels"]
        pod: Object = {
            "apiVersion": "v1", "kind": "Pod", "spec": {"containers": [], "terminationGracePeriodSeconds": 0},
            "metadata": {"name": labels["pod"], "namespace": labels["namespace"], "uid": uid},
        }  # fmt: skip
        worker = self.workers[uid] = PodWorker(self, pod, self.records.pop(uid))
        worker.gone()
        task = self._tasks[uid] = asyncio.ensure_future(worker.run())
        task.add_done_callback(lambda _: self._ended(uid))

    # The node.

    async def run(self) -> None:
        """Register, adopt what runs, then keep everything true."""
        for record in await self.handle.ask("list"):
            self.records.setdefault(record["labels"].get("uid", ""), []).append(record)
        node = await self._register()
        owner = {"apiVersion": "v1", "kind": "Node", "name": self.config.node, "uid": uid_of(node)}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(LeaseKeeper(self.client, self.config.node, owner=owner, clock=self.clock).run())
                group.create_task(self._report())
                group.create_task(self._exits())
                fields = f"spec.nodeName={self.config.node}"
                group.create_task(Reflector(self.client, POD, _pod, self, fields=fields, clock=self.clock).run())
        finally:
            for task in list(self._tasks.values()):
                task.cancel()

    async def _register(self) -> Object:
        while True:
            try:
                return await self.client.get(NODE, self.config.node)
            except ApiError as error:
                if error.not_found:
                    return await self.client.create(NODE, node_object(self.config))
                logger.warning("node %s is not registered yet: %s", self.config.node, error)
                await self.clock.sleep(0.5)

    async def _report(self) -> None:
        """Status at each change of the network's readiness, and now and then."""
        told: bool | None = None
        since = 0.0
        while True:
            network = self.cni.network() is not None
            if network != told or self.clock.monotonic() - since > 60:
                now = rfc3339(self.clock.now())
                self._status = node_status(self.config, self._status, now, network=network)
                try:
                    await self.client.patch(
                        NODE, self.config.node, {"status": self._status}, subresource="status", content_type=STRATEGIC
                    )
                    if network and told is not True:
                        for worker in tuple(self.workers.values()):
                            worker.wake()
                    told, since = network, self.clock.monotonic()
                except ApiError as error:
                    logger.warning("status of node %s not written: %s", self.config.node, error)
            await self.clock.sleep(0.1 if not network else 5.0)

    async def _exits(self) -> None:
        """Ends of containers, as the supervisor tells them."""
        while True:
            try:
                async for record in self.handle.exits():
                    worker = self.workers.get(record["labels"].get("uid", ""))
                    if worker is not None:
                        worker.exited(record)
            except NodeError as error:
                logger.warning("%s", error)
            await self.clock.sleep(0.5)
