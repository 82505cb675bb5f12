"""The kubelet's own Node: registered, and its status kept true. A reflector's sink for that one object.

The status is written when the network's readiness changes, when somebody else changed it (a node controller that missed
heartbeats says Unknown), and once a minute. The Lease is the heartbeat; whether the network is ready is asked here.
"""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from clew.api.conditions import is_true
from clew.api.kinds import NODE
from clew.api.objects import Key, Object
from clew.base.clock import rfc3339
from clew.cluster.kubelet import node_status
from clew.cluster.kubelet.surroundings import Surroundings
from clew.cluster.runtime.errors import NodeLostError
from clew.watch.client import STRATEGIC
from clew.watch.errors import ApiError

if TYPE_CHECKING:
    from clew.cluster.images import ListedImage

logger = logging.getLogger(__name__)

_STATUS_EVERY = 60.0  # seconds
_NETWORK_SOON, _NETWORK_EVERY = 0.1, 5.0  # between two looks at the network's configuration
_AGAIN = 0.5


class OwnNode:
    """`network_changed` is called whenever pods can, or can no longer, be attached."""

    def __init__(self, around: Surroundings, network_changed: Callable[[], None]) -> None:
        self._around = around
        self._network_changed = network_changed
        self.object: Object = {}
        self._images: list[ListedImage] = []

    # A reflector's sink.

    def replace(self, items: Mapping[Key, Object]) -> None:
        self.object = next(iter(items.values()), {})

    def put(self, key: Key, fact: Object | None) -> None:
        del key
        self.object = fact or {}

    # Writing it.

    async def register(self) -> None:
        """The node is in the API when this returns."""
        client, config = self._around.client, self._around.config
        while True:
            try:
                self.object = await client.get(NODE, config.node)
                return
            except ApiError as error:
                problem = error
            if problem.not_found:
                try:
                    self.object = await client.create(NODE, node_status.node_object(config))
                    return
                except ApiError as error:
                    problem = error
            logger.warning("node %s is not registered yet: %s", config.node, problem)
            await self._around.clock.sleep(_AGAIN)

    async def run(self) -> None:
        """For ever."""
        clock, written = self._around.clock, -_STATUS_EVERY
        self._tell("Normal", "Starting", "Starting kubelet.")
        while True:
            problem = await self._network_problem()
            if problem != self._around.network_problem:
                self._around.network_problem = problem
                self._network_changed()
            wanted = await self._status(problem)
            due = clock.monotonic() - written > _STATUS_EVERY
            if (due or node_status.says_else(self.object, wanted)) and await self._write(wanted):
                written = clock.monotonic()
            await clock.sleep(_NETWORK_SOON if problem else _NETWORK_EVERY)

    async def _network_problem(self) -> str:
        try:
            return await self._around.cni.problem()
        except NodeLostError:
            return "the node is off"

    async def _status(self, problem: str) -> Object:
        before, now = self.object.get("status") or {}, rfc3339(self._around.clock.now())
        if not problem:
            self._images = [each for each in await self._around.images.list() if each.id]
        return node_status.node_status(self._around.config, before, now, problem, self._images)

    def rebooted(self) -> None:
        """The node has lost power and is on again."""
        about = f"Node {self._around.config.node} has been rebooted, boot id: {node_status.boot_id()}"
        self._tell("Warning", "Rebooted", about)

    def _tell(self, type_: str, reason: str, message: str) -> None:
        if self.object:
            self._around.tell(self.object, type_, reason, message)

    async def _write(self, status: Object) -> bool:
        name = self._around.config.node
        was, ready = is_true(self.object, "Ready"), is_true({"status": status}, "Ready")
        try:
            self.object = await self._around.client.patch(
                NODE, name, node_status.patch(status), subresource="status", content_type=STRATEGIC
            )
        except ApiError as error:
            if error.not_found:
                await self.register()  # somebody deleted it; a kubelet registers again
            else:
                logger.warning("status of node %s not written: %s", name, error)
            return False
        if was != ready:
            reason = "NodeReady" if ready else "NodeNotReady"
            self._tell("Normal", reason, f"Node {name} status is now: {reason}")
        return True
