"""A node's kubelet: its Node object and Lease, the pods bound to it with a worker each, and the node's power.

It lives in the lab's daemon and may be started again at any time: what runs on the node is adopted, not touched. When
the node's supervisor dies, the node has lost power; it is switched on again and its pods are made anew.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from clew.api.kinds import NODE, POD, SERVICE
from clew.api.objects import Key, Object, key_of, uid_of
from clew.base.clock import Clock, SystemClock
from clew.base.errors import WorldError
from clew.cluster.images import ImageService
from clew.cluster.kubelet import node_status, service_links
from clew.cluster.kubelet.config import KubeletConfig
from clew.cluster.kubelet.instances import PodRecords, by_pod, sandbox_of
from clew.cluster.kubelet.own_node import OwnNode
from clew.cluster.kubelet.pod import PodWorker
from clew.cluster.kubelet.pod_admission import ACCEPTED, refusal
from clew.cluster.kubelet.sandboxes import Sandboxes
from clew.cluster.kubelet.starting import Starter
from clew.cluster.kubelet.surroundings import Surroundings, Tasks
from clew.cluster.runtime.errors import NodeLostError
from clew.cluster.runtime.handle import NodeHandle
from clew.watch.client import Client
from clew.watch.events import EventRecorder
from clew.watch.leases import LeaseKeeper
from clew.watch.reflector import Reflector

logger = logging.getLogger(__name__)

_REVIVE_PAUSE = 2.0
_SETTLING = 30.0  # seconds a container may take to start while its node is adopted
_WORKER_PAUSE = 1.0  # seconds before a pod whose worker failed is looked at again


class Kubelet:
    """One node's; `run` for ever."""

    def __init__(
        self, client: Client, config: KubeletConfig, handle: NodeHandle, images: ImageService,
        recorder: EventRecorder, clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.handle = handle
        self.around = Surroundings(
            client, config, handle, images, recorder, clock or SystemClock(), node_status.allocatable()
        )
        self._client = client
        self._starter = Starter(self.around)
        self._sandboxes = Sandboxes(self.around)
        self._pods: dict[Key, Object] = {}
        self._listed = False  # the API has said which pods are bound to the node
        self._workers: dict[str, PodWorker] = {}
        self._tasks = Tasks()
        self._records: dict[str, PodRecords] | None = None  # of pods no worker has taken yet; None: power is off
        self._node = OwnNode(self.around, self._network_changed)
        handle.listen(self._event)

    def worker(self, uid: str) -> PodWorker | None:
        """The pod's worker, for streams."""
        return self._workers.get(uid)

    async def run(self) -> None:
        """Register, adopt what runs, then keep everything true."""
        await self._node.register()
        owner = {"apiVersion": "v1", "kind": "Node", "name": self.config.node, "uid": uid_of(self._node.object)}
        clock, fields = self.around.clock, f"spec.nodeName={self.config.node}"
        services = Reflector(self._client, SERVICE, service_links.decode, self.around.services, clock=clock)
        pods = Reflector(self._client, POD, _pod, self, fields=fields, clock=clock)
        node = Reflector(self._client, NODE, _node, self._node, fields=f"metadata.name={self.config.node}", clock=clock)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(LeaseKeeper(self._client, self.config.node, owner=owner, clock=clock).run())
                group.create_task(node.run())
                group.create_task(self._node.run())
                group.create_task(services.run())
                group.create_task(pods.run())
                group.create_task(self._keep_power())
        finally:
            await self._tasks.end()
            await self.around.tasks.end()

    # The node's power.

    async def _keep_power(self) -> None:
        while True:
            try:
                await self._adopt()
                await self.handle.wait_lost()
            except NodeLostError:
                pass
            logger.warning("node %s has lost power; it is switched on again", self.config.node)
            self._records = None
            await self._tasks.end()
            self._workers.clear()
            await self._switch_on()
            self._node.rebooted()

    async def _switch_on(self) -> None:
        while True:
            try:
                await self.handle.revive()
                return
            except WorldError as problem:
                logger.warning("node %s does not start: %s", self.config.node, problem)
            await self.around.clock.sleep(_REVIVE_PAUSE)

    async def _adopt(self) -> None:
        """Hand what the node knows to the pods' workers; pods that are gone from the API are ended."""
        self._records = await self._known()
        for pod in list(self._pods.values()):
            self._begin(pod)
        self._end_orphans()

    async def _known(self) -> dict[str, PodRecords]:
        """What the node knows, once no container is half started: a daemon that died may have asked for it."""
        end = self.around.clock.monotonic() + _SETTLING
        while True:
            listed = await self.handle.ask("list")
            settled = all(record["state"] != "created" for record in listed["containers"])
            if settled or self.around.clock.monotonic() > end:
                return by_pod(listed["sandboxes"], listed["containers"])
            await self.around.clock.sleep(0.05)

    def _end_orphans(self) -> None:
        if not self._listed or self._records is None:
            return
        alive = {uid_of(pod) for pod in self._pods.values()}
        for uid in [uid for uid in self._records if uid not in alive]:
            records = self._records.pop(uid)
            meta = {"namespace": records.namespace, "name": records.name, "uid": uid}
            pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": []}}
            self._employ(pod, records).vanish()

    # The pods; a reflector's sink.

    def replace(self, items: Mapping[Key, Object]) -> None:
        self._listed = True
        for key in [key for key in self._pods if key not in items]:
            self.put(key, None)
        for key, pod in items.items():
            self.put(key, pod)
        self._end_orphans()

    def put(self, key: Key, fact: Object | None) -> None:
        before = self._pods.get(key)
        if before is not None and (fact is None or uid_of(fact) != uid_of(before)):
            del self._pods[key]
            if (worker := self._workers.get(uid_of(before))) is not None:
                worker.vanish()
        if fact is None:
            return
        self._pods[key] = fact
        if (worker := self._workers.get(uid_of(fact))) is not None:
            worker.update(fact)
        else:
            self._begin(fact)

    def _begin(self, pod: Object) -> None:
        if self._records is None:
            return
        uid = uid_of(pod)
        records = self._records.pop(uid, None)
        refused = ACCEPTED
        if records is None:
            others = [each for each in self._pods.values() if uid_of(each) != uid and uid_of(each) in self._workers]
            refused = refusal(pod, self._node.object, others, self.config)
            records = PodRecords(pod["metadata"]["namespace"], pod["metadata"]["name"], uid)
        if refused[0]:
            self.around.tell(pod, "Warning", *refused)
        self._employ(pod, records, refused)

    def _employ(self, pod: Object, records: PodRecords, refused: tuple[str, str] = ACCEPTED) -> PodWorker:
        worker = PodWorker(self.around, self._starter, self._sandboxes, pod, records, refused)
        self._workers[records.uid] = worker
        task = self._tasks.start(self._work(worker), f"pod {records.namespace}/{records.name}")
        task.add_done_callback(lambda _: self._dismiss(records.uid, worker))
        return worker

    async def _work(self, worker: PodWorker) -> None:
        """A worker's life. One that fails is a defect of ours: it is logged and another looks at the pod afresh."""
        records = worker.records
        try:
            await worker.run()
            return
        except NodeLostError:
            return  # the kubelet makes another when there is power again
        except Exception:
            logger.exception("the worker of pod %s/%s failed", records.namespace, records.name)
        await self.around.clock.sleep(_WORKER_PAUSE)
        found = (await self._known()).get(records.uid)
        pod = self._pods.get((records.namespace, records.name))
        if pod is not None and uid_of(pod) == records.uid and self._workers.get(records.uid) is worker:
            self._employ(pod, found or PodRecords(records.namespace, records.name, records.uid))

    def _dismiss(self, uid: str, worker: PodWorker) -> None:
        if self._workers.get(uid) is worker:
            del self._workers[uid]

    def _event(self, event: Mapping[str, Any]) -> None:
        """What the node's supervisor tells of its own accord."""
        record = event["record"]
        worker = self._workers.get(record["labels"]["uid"])
        if worker is None:
            return
        if event["event"] == "container":
            worker.exited(record)
        else:
            worker.sandbox_lost(sandbox_of(record))

    def _network_changed(self) -> None:
        for worker in self._workers.values():
            worker.network_changed()


def _pod(data: bytes) -> tuple[Key, Object]:
    return _decoded(data, "Pod")


def _node(data: bytes) -> tuple[Key, Object]:
    return _decoded(data, "Node")


def _decoded(data: bytes, kind: str) -> tuple[Key, Object]:
    obj: Object = msgspec.json.decode(data)
    obj["apiVersion"], obj["kind"] = "v1", kind
    obj["metadata"].pop("managedFields", None)
    return key_of(obj), obj
