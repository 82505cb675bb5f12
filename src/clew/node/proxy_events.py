"""What is wrong with a Service or an EndpointSlice, told to its owner: an Event on the object, as kubectl describes it.

The proxy says a problem once, when it comes up, without waiting; one task here looks the object up (an Event needs its
uid) and writes. Made and run by app/agent_proxy.
"""

import asyncio
import logging
from typing import Protocol

from clew.api.kinds import ENDPOINT_SLICE, SERVICE, Kind
from clew.api.objects import Object
from clew.base.errors import Problem
from clew.watch.errors import ApiError
from clew.watch.events import EventRecorder, Writer

logger = logging.getLogger(__name__)

KINDS = {"Service": SERVICE, "EndpointSlice": ENDPOINT_SLICE}
WAITING = 1000  # problems; with more, the oldest are in the log only
REASON = "ServiceNotProxied"


class Cluster(Writer, Protocol):
    """What telling needs of a client."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object: ...


class ProblemTeller:
    def __init__(self, node: str) -> None:
        self._node = node
        self._queue: asyncio.Queue[Problem] = asyncio.Queue(WAITING)

    def tell(self, problem: Problem) -> None:
        """Say it in the log now, and on the object soon."""
        logger.warning("%s", problem)
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(problem)

    async def run(self, client: Cluster) -> None:
        """Until cancelled; the first word is that the proxy starts, on the node's object, as kube-proxy's."""
        recorder = EventRecorder(client, "kube-proxy", self._node)
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._node, "uid": self._node}}
        await recorder.record(node, "Normal", "Starting", "")
        while True:
            problem = await self._queue.get()
            kind, _, rest = problem.origin.partition(" ")
            namespace, _, name = rest.partition("/")
            if kind not in KINDS:
                continue
            try:
                about = await client.get(KINDS[kind], name, namespace)
            except ApiError as error:
                logger.debug("no Event about %s: %s", problem.origin, error)
                continue
            await recorder.record(about, "Warning", REASON, problem.said)
