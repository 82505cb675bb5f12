"""The daemon's hold on one node: start it or find it running, ask it, hear of its end, switch it off.

A node outlives the daemon. `start` adopts a living supervisor with all that runs on it; nothing about the node is kept
here that could not be asked again. If the supervisor dies, the node has lost power: `wait_lost` returns, and `revive`
switches it on again, empty but for its disk.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Self

from clew.cluster.paths import LabPaths
from clew.cluster.runtime import power
from clew.cluster.runtime.channel import Answer, Channel, SessionChannel
from clew.cluster.runtime.errors import NodeError, NodeLostError
from clew.cluster.runtime.location import group_of
from clew.cluster.runtime.settings import NodeSettings
from clew.cluster.runtime.supervisor.wire import PROTOCOL

logger = logging.getLogger(__name__)

_GREETING = 20.0  # seconds a living supervisor may take to say who it is; one that does not is switched off
Listener = Callable[[Answer], None]


class NodeHandle:
    """One node; made by `start`."""

    def __init__(
        self, paths: LabPaths, node: str, settings: NodeSettings, wire: Callable[[], None] | None = None
    ) -> None:
        self.paths = paths
        self.node = node
        self.settings = settings
        self._wire = wire
        self.adopted = False  # found running rather than started by us
        self._listeners: list[Listener] = []
        self._channel = Channel(paths.node_socket(node), self._tell)

    @classmethod
    async def start(
        cls, paths: LabPaths, node: str, settings: NodeSettings | None = None, wire: Callable[[], None] | None = None
    ) -> Self:
        """Adopt the node's supervisor or switch the node on. PowerError.

        `wire` (blocking) pins the node's network namespace each time it is switched on; without it one must be pinned.
        """
        handle = cls(paths, node, settings or NodeSettings(), wire)
        await handle.revive()
        return handle

    @property
    def pid(self) -> int:
        """The supervisor's process; /proc/PID/ns/net and /proc/PID/ns/mnt are the node's."""
        return self._channel.pid

    @property
    def group(self) -> str:
        """The node's control group, the same path in every hierarchy."""
        return group_of(self.paths, self.node)

    async def revive(self) -> None:
        """Connect to the node, switching it on where it is off. PowerError says why it cannot be."""
        await self._channel.close()
        if await self._greet():
            self.adopted = True
            return
        self.adopted = False
        await power.switch_off(self.paths, self.node)
        if self._wire is not None:
            await asyncio.to_thread(self._wire)
        await power.switch_on(self.paths, self.node, self.settings)
        if not await self._greet():
            raise power.PowerError(f"node {self.node} started and was gone again; see {self.paths.log}")

    async def wait_lost(self) -> None:
        """Until the supervisor is gone."""
        await self._channel.lost.wait()

    async def close(self) -> None:
        """Let go of the node; it goes on running."""
        await self._channel.close()

    async def stop(self) -> None:
        """Switch the node off: processes, mounts, control groups and socket are gone; its disk stays."""
        await self._channel.close()
        await power.switch_off(self.paths, self.node)

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every container and sandbox that ends by itself."""
        self._listeners.append(listener)

    async def ask(self, op: str, **arguments: Any) -> Answer:
        """One request to the supervisor. NodeError is its refusal, NodeLostError that it is gone."""
        return await self._channel.request(op, arguments)

    async def open(self, op: str, **arguments: Any) -> tuple[SessionChannel, Answer]:
        """A session (exec, attach, connect): its channel and first message; refusals as for `ask`."""
        session = SessionChannel(self.paths.node_socket(self.node))
        return session, await session.begin(op, arguments)

    async def _greet(self) -> bool:
        """Whether a supervisor that we understand is there and answers."""
        channel = Channel(self.paths.node_socket(self.node), self._tell)
        try:
            await channel.open()
            async with asyncio.timeout(_GREETING):
                _check_protocol(await channel.request("hello", {}))
                await channel.request("subscribe", {})
        except NodeLostError:
            await channel.close()
            return False
        except (NodeError, TimeoutError) as problem:
            logger.warning("node %s: its supervisor is of no use (%s) and is switched off", self.node, problem)
            await channel.close()
            return False
        self._channel = channel
        return True

    def _tell(self, event: Answer) -> None:
        for listener in self._listeners:
            listener(event)


def _check_protocol(hello: Answer) -> None:
    if hello.get("protocol") != PROTOCOL:
        raise NodeError(f"speaks protocol {hello.get('protocol')}, not {PROTOCOL}")
