"""What the Pod behind a CNI call asks by annotation: from a watch of this node's Pods, or asked where that is behind.

Without the API server's word a Pod that the watch has not shown is not attached: it might get an address that it must
not have. A sandbox that is no Pod's asks nothing. Called by node/cni_calls.py.
"""

import asyncio
from collections.abc import Awaitable, Callable

from clew.facts.attachment import PodRef
from clew.facts.pod_asks import PodAsks
from clew.store.table import Table
from clew.watch.errors import ApiError, Unreachable

SECONDS = 10.0  # to wait for the API server's answer
Ask = Callable[[str, str], Awaitable[PodAsks]]  # namespace and name; ApiError


class PodLookup:
    def __init__(self, table: Table[PodAsks], ask: Ask) -> None:
        self._table = table
        self._ask = ask

    async def find(self, pod: PodRef) -> PodAsks:
        """ApiError where the server does not answer, or will not."""
        nobody = PodAsks(pod.namespace, pod.name, pod.uid)
        if not pod.name:
            return nobody
        seen = self._table.get((pod.namespace, pod.name))
        if seen is not None and pod.uid in {"", seen.uid}:
            return seen
        try:
            async with asyncio.timeout(SECONDS):
                return await self._ask(pod.namespace, pod.name)
        except ApiError as refusal:
            if refusal.not_found:  # deleted since, or a runtime that uses Kubernetes' names for its own
                return nobody
            raise
        except TimeoutError as late:
            raise Unreachable("the API server", late) from late
