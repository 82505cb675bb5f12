"""What the Pod behind a CNI call asks by annotation: from a watch of this node's Pods, or asked where that is behind.

Without the API server's word a Pod that the watch has not shown is not attached: it might get an address that it must
not have. A sandbox that is no Pod's asks nothing. Called by node/cni_calls.py.
"""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from clew.facts.attachment import PodRef
from clew.facts.pod_asks import PodAsks
from clew.store.table import Table
from clew.watch.errors import ApiError, Unreachable

SECONDS = 10.0  # to wait for the API server's answer
Ask = Callable[[str, str], Awaitable[PodAsks]]  # namespace and name; ApiError


class PodLookup:
    """`namespaces` are looked at for what a Pod does not say itself, and for what chooses it; None: no matter."""

    def __init__(self, table: Table[PodAsks], namespaces: Table[PodAsks] | None, ask: Ask) -> None:
        self._table = table
        self._namespaces = namespaces
        self._ask = ask

    async def find(self, pod: PodRef) -> PodAsks:
        """ApiError where the server does not answer, or will not."""
        nobody = PodAsks(pod.namespace, pod.name, pod.uid)
        if not pod.name:
            return nobody
        if self._namespaces is not None and not self._namespaces.in_sync:
            raise Unreachable("the API server", TimeoutError("the list of Namespaces has not arrived"))
        found = await self._find(pod)
        if found is None or self._namespaces is None:
            return found or nobody
        said = self._namespaces.get(("", pod.namespace))
        if said is None:  # its Pod is there, so it is younger than what the watch has shown
            raise Unreachable("the API server", TimeoutError(f"Namespace {pod.namespace} has not arrived"))
        annotations = tuple({**dict(said.annotations), **dict(found.annotations)}.items())
        return replace(found, annotations=annotations, namespace_labels=said.namespace_labels)

    async def _find(self, pod: PodRef) -> PodAsks | None:
        """None where the server has no such Pod."""
        seen = self._table.get((pod.namespace, pod.name))
        if seen is not None and pod.uid in {"", seen.uid}:
            return seen
        try:
            async with asyncio.timeout(SECONDS):
                return await self._ask(pod.namespace, pod.name)
        except ApiError as refusal:
            if refusal.not_found:  # deleted since, or a runtime that uses Kubernetes' names for its own
                return None
            raise
        except TimeoutError as late:
            raise Unreachable("the API server", late) from late
