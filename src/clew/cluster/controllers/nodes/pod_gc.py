"""Removes pods that nobody will remove any more. Called by run.py.

Of a node that is gone for good (asked for once more, after a grace), pods that were deleted before they were bound,
and the oldest finished ones beyond a limit.
"""

from clew.api.conditions import with_condition
from clew.api.kinds import NODE, POD
from clew.api.objects import Key, Object, dig, is_deleting, key_of, metadata, name_of, namespace_of, uid_of
from clew.base.clock import rfc3339
from clew.cluster.controllers import pods as podlike
from clew.cluster.controllers.context import Context
from clew.watch.errors import ApiError
from clew.watch.queue import WorkQueue

GRACE = 40.0  # seconds a node must be missing; kubelets register again after a restart of theirs
FINISHED: Key = ("", "")  # the key under which finished pods are counted


class PodGarbageController:
    """Keys are pods, and one that stands for all finished ones."""

    workers = 2

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._limit = context.options.terminated_pods
        self._pods = context.informers.of(POD)
        self._nodes = context.informers.of(NODE)
        self._pods.add_index("node", lambda pod: (podlike.node_of(pod),))
        self._missing: dict[str, float] = {}
        self._finished = 0
        self.queue: WorkQueue[Key] = WorkQueue("pod-garbage")
        self._pods.subscribe(self._on_pod)
        self._nodes.subscribe(self._on_node)

    def _on_pod(self, before: Object | None, after: Object | None) -> None:
        was, is_ = before is not None and podlike.is_finished(before), after is not None and podlike.is_finished(after)
        self._finished += is_ - was
        if self._finished > self._limit:
            self.queue.add(FINISHED)
        if after is None:
            return
        node = podlike.node_of(after)
        if (node and self._nodes.get("", node) is None) or (not node and is_deleting(after)):
            self.queue.add(key_of(after))

    def _on_node(self, before: Object | None, after: Object | None) -> None:
        if after is not None:
            self._missing.pop(name_of(after), None)
        elif before is not None:
            self._missing[name_of(before)] = self._clock.monotonic()
            for pod in self._pods.by("node", name_of(before)):
                self.queue.add(key_of(pod))

    async def reconcile(self, key: Key) -> float | None:
        if key == FINISHED:
            await self._drop_finished()
            return None
        pod = self._pods.get(*key)
        if pod is None:
            return None
        node = podlike.node_of(pod)
        if not node:
            if is_deleting(pod):
                await self._delete(pod)
            return None
        if self._nodes.get("", node) is not None:
            self._missing.pop(node, None)
            return None
        since = self._missing.setdefault(node, self._clock.monotonic())
        left = since + GRACE - self._clock.monotonic()
        if left > 0:
            return left
        if await self._is_gone(node):
            await self._mark_failed(pod)
            await self._delete(pod)
        return None

    async def _is_gone(self, node: str) -> bool:
        try:
            await self._client.get(NODE, node)
        except ApiError as error:
            if error.not_found:
                return True
            raise
        return False

    async def _mark_failed(self, pod: Object) -> None:
        """Its owner counts it as failed even if a finalizer holds it."""
        if podlike.is_finished(pod):
            return
        disrupted = {
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
        }  # fmt: skip
        conditions = with_condition(dig(pod, "status", "conditions"), disrupted, rfc3339(self._clock.now()))
        body = {"metadata": {"uid": uid_of(pod)}, "status": {"phase": "Failed", "conditions": conditions}}
        try:
            await self._client.patch(POD, name_of(pod), body, namespace_of(pod), subresource="status")
        except ApiError as error:
            if not error.not_found:
                raise

    async def _drop_finished(self) -> None:
        finished = [pod for pod in self._pods.items() if podlike.is_finished(pod) and not is_deleting(pod)]
        finished.sort(key=lambda pod: metadata(pod).get("creationTimestamp") or "")
        for pod in finished[: max(0, len(finished) - self._limit)]:
            await self._delete(pod)

    async def _delete(self, pod: Object) -> None:
        try:
            await self._client.delete(POD, name_of(pod), namespace_of(pod), uid=uid_of(pod), grace_period=0)
        except ApiError as error:
            if not (error.not_found or error.conflict):
                raise
