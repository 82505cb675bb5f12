"""What every pod's worker on a node shares: the node, the API, images, volumes, the network, Events, the clock."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from clew.api.objects import Object
from clew.base.clock import Clock
from clew.cluster.images import ImageService
from clew.cluster.kubelet.cni import Cni
from clew.cluster.kubelet.config import KubeletConfig
from clew.cluster.kubelet.image_pull import Puller
from clew.cluster.kubelet.objects import ObjectCache
from clew.cluster.kubelet.service_links import ServiceLinks
from clew.cluster.kubelet.tokens import Tokens
from clew.cluster.kubelet.volume_setup import VolumeSetup
from clew.cluster.runtime.handle import NodeHandle
from clew.watch.client import Client
from clew.watch.events import EventRecorder

logger = logging.getLogger(__name__)


class Tasks:
    """Tasks that somebody must hold; ended together."""

    def __init__(self) -> None:
        self._held: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None], name: str = "") -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name or None)
        self._held.add(task)
        task.add_done_callback(self._ended)
        return task

    async def end(self) -> None:
        for task in self._held:
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._held.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            logger.error("%s failed", task.get_name(), exc_info=problem)


class Surroundings:
    """Made once by the kubelet."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts a kubelet is composed of
        self,
        client: Client,
        config: KubeletConfig,
        handle: NodeHandle,
        images: ImageService,
        recorder: EventRecorder,
        clock: Clock,
        allocatable: Mapping[str, Fraction | int],
    ) -> None:
        self.client = client
        self.config = config
        self.handle = handle
        self.clock = clock
        self.allocatable = allocatable
        self.tasks = Tasks()
        self.services = ServiceLinks()
        self.objects = ObjectCache(client, clock)
        self.tokens = Tokens(client, clock)
        self.volumes = VolumeSetup(handle, self.objects, self.tokens, allocatable)
        self.images = images
        self.puller = Puller(images, self.tell, clock)
        self.cni = Cni(handle, self.tree)
        self.gate = asyncio.Semaphore(config.at_once)
        self.network_problem = "not looked at yet"
        self._recorder = recorder

    @property
    def tree(self) -> Path:
        """The node's disk as this process sees it."""
        return self.handle.paths.node_tree(self.config.node)

    def tell(self, pod: Object, type_: str, reason: str, message: str) -> None:
        """An Event about a pod, without waiting for it."""
        self.tasks.start(self._recorder.record(pod, type_, reason, message), f"event {reason}")

    def on_host(self, path: str) -> Path:
        """A path of the node's disk, as this process sees it."""
        return self.tree / path.lstrip("/")
