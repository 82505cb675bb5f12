"""IPsec as a part of the agent: the Secret is watched and the Node tells where this node stands, once it is chosen.

Made and run by app/agent; the identity is one of the pod network's planes.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from clew.api import kinds
from clew.base.clock import Clock
from clew.dataplane.overlay.esp import EspEnds
from clew.facts import ipsec as key_facts
from clew.facts.ipsec import NAMESPACE, KeyRing
from clew.facts.node import Node
from clew.kernel.errors import KernelError
from clew.kernel.xfrm import KernelXfrm, XfrmMonitor
from clew.node import ipsec
from clew.node.ipsec import Identity
from clew.store.table import Table
from clew.watch.client import Client
from clew.watch.reflector import Reflector

logger = logging.getLogger(__name__)


class IpsecPart:
    """`secret` is the name of the Secret with the keys, `node` the node's own."""

    def __init__(self, node: str, state_dir: Path, secret: str, nodes: Table[Node], clock: Clock) -> None:
        self._node, self._secret, self._nodes, self._clock = node, secret, nodes, clock
        self._keys: Table[KeyRing] = Table("keys")
        self._chosen = asyncio.Event()
        self.identity = Identity(state_dir / "ipsec.json", secret, self._keys)
        self._xfrm = KernelXfrm()
        self.ends = EspEnds(self._xfrm, self.identity, time.monotonic)

    def choose(self) -> None:
        """The way between nodes is this one."""
        self._chosen.set()

    async def run(self, client: Client, taken: Callable[[], None]) -> None:
        """`taken` is called when somebody else has taken or changed states or policies."""
        await self._chosen.wait()
        fields = f"metadata.name={self._secret}"
        watched = Reflector(
            client, kinds.SECRET, key_facts.decode, self._keys, namespace=NAMESPACE, fields=fields, clock=self._clock
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(watched.run())
            group.create_task(self._listen(taken))
            group.create_task(ipsec.publish(client, self._nodes, self._node, self.identity, self._clock))

    async def _listen(self, taken: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        try:
            monitor = XfrmMonitor(lambda: self._xfrm.port)
        except KernelError as refusal:  # a kernel without XFRM has nothing that could go; making states says so
            logger.debug("%s", refusal)
            return

        def heard() -> None:
            if monitor.drain():
                taken()

        loop.add_reader(monitor.fileno(), heard)
        try:
            await asyncio.Event().wait()
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()
