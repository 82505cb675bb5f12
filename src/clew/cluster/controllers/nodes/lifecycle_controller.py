"""Notices nodes that went silent, taints nodes by their conditions, drives pods from dead ones. Called by run.py.

A node's word is its Lease, renewed every ten seconds, or its status. Its age is measured from when we saw it change,
on our own clock: a controller that has just started knows of nobody's silence yet, and clocks need not agree.
"""

from clew.api.conditions import condition, is_true, with_condition
from clew.api.kinds import LEASE, NODE, POD
from clew.api.objects import Key, Object, dig, is_deleting, key_of, metadata, name_of, namespace_of, uid_of
from clew.base.clock import rfc3339
from clew.cluster.controllers import pods as podlike
from clew.cluster.controllers.context import Context
from clew.cluster.controllers.nodes import taints
from clew.watch.errors import ApiError
from clew.watch.leases import NODE_LEASES
from clew.watch.queue import WorkQueue

_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
BY_NODE = "node"


class NodeLifecycleController:
    """Keys are nodes. An idle node costs one look in the length of the grace."""

    workers = 4

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._grace = context.options.node_monitor_grace
        self._nodes = context.informers.of(NODE)
        self._pods = context.informers.of(POD)
        self._leases = context.informers.of(LEASE)
        self._board = context.teller("node-controller")
        self._heard: dict[str, float] = {}
        self._dark = False  # no node at all is ready: the fault is elsewhere, nobody is evicted
        self._pods.add_index(BY_NODE, lambda pod: (podlike.node_of(pod),))
        self.queue: WorkQueue[Key] = WorkQueue("node-lifecycle")
        self._nodes.subscribe(self._on_node)
        self._leases.subscribe(self._on_lease)

    def _on_lease(self, _: Object | None, after: Object | None) -> None:
        if after is not None and namespace_of(after) == NODE_LEASES:
            self._heard[name_of(after)] = self._clock.monotonic()

    def _on_node(self, before: Object | None, after: Object | None) -> None:
        if after is None:
            self._heard.pop(name_of(before or {}), None)
            self._tell(before or {}, "RemovingNode", "Removing Node {} from Controller")
        else:
            name = name_of(after)
            if before is None:
                self._tell(after, "RegisteredNode", "Registered Node {} in Controller")
            if before is None or _heartbeat(before) != _heartbeat(after):
                self._heard[name] = self._clock.monotonic()
            self.queue.add(("", name))
        dark = bool(self._nodes.items()) and not any(is_true(node, "Ready") for node in self._nodes.items())
        if dark != self._dark:
            self._dark = dark
            for node in self._nodes.items():
                self.queue.add(("", name_of(node)))

    async def reconcile(self, key: Key) -> float | None:
        node = self._nodes.get("", key[1])
        if node is None:
            return None
        silent = self._clock.monotonic() - self._heard.setdefault(key[1], self._clock.monotonic())
        ready = (condition(node, "Ready") or {}).get("status")
        if silent >= self._grace and ready != "Unknown":
            await self._give_up(node)
            return self._grace
        if ready == "Unknown":
            await self._mark_pods(node)
        await self._taint(node)
        return max(1.0, self._grace - silent) if ready != "Unknown" else None

    def _tell(self, node: Object, reason: str, words: str) -> None:
        name = name_of(node)
        self._board.tell(node, "Normal", reason, f"Node {name} event: {words.format(name)}")

    async def _give_up(self, node: Object) -> None:
        now = rfc3339(self._clock.now())
        conditions = dig(node, "status", "conditions")
        for type_ in _REPORTED:
            old = condition(node, type_)
            unknown = {"type": type_, "status": "Unknown", "lastHeartbeatTime": (old or {}).get("lastHeartbeatTime")}
            if old is None:
                unknown |= {
                    "lastHeartbeatTime": metadata(node).get("creationTimestamp"),
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                }
            else:
                unknown |= {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
            conditions = with_condition(conditions, unknown, now)
        await self._write_conditions(node, conditions)
        message = f"Node {name_of(node)} status is now: NodeNotReady"
        self._board.tell(node, "Normal", "NodeNotReady", message)

    async def _write_conditions(self, node: Object, conditions: list[Object] | None) -> None:
        meta = {"uid": uid_of(node), "resourceVersion": metadata(node).get("resourceVersion")}
        body = {"metadata": meta, "status": {"conditions": conditions}}
        await self._client.patch(NODE, name_of(node), body, subresource="status")

    async def _mark_pods(self, node: Object) -> None:
        """Services must not wait for the eviction of what cannot answer."""
        for pod in list(self._pods.by(BY_NODE, name_of(node))):
            if not podlike.is_ready(pod):
                continue
            false = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
            now = rfc3339(self._clock.now())
            conditions = with_condition(dig(pod, "status", "conditions"), false, now)
            meta = {"uid": uid_of(pod), "resourceVersion": metadata(pod).get("resourceVersion")}
            body = {"metadata": meta, "status": {"conditions": conditions}}
            try:
                await self._client.patch(POD, name_of(pod), body, namespace_of(pod), subresource="status")
            except ApiError as error:
                if not error.not_found:
                    raise
            else:
                self._board.tell(pod, "Warning", "NodeNotReady", "Node is not ready")

    async def _taint(self, node: Object) -> None:
        wanted = taints.by_condition(node, self._clock.now(), evict=not self._dark)
        if taints.same(wanted, taints.taints(node)):
            return
        meta = {"uid": uid_of(node), "resourceVersion": metadata(node).get("resourceVersion")}
        await self._client.patch(NODE, name_of(node), {"metadata": meta, "spec": {"taints": wanted or None}})


class TaintEvictionController:
    """Deletes pods that do not tolerate a NoExecute taint of their node, or no longer. Keys are pods."""

    workers = 4

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._nodes = context.informers.of(NODE)
        self._pods = context.informers.of(POD)
        self._board = context.teller("taint-eviction-controller")
        self._pods.add_index(BY_NODE, lambda pod: (podlike.node_of(pod),))
        self.queue: WorkQueue[Key] = WorkQueue("taint-eviction")
        self._nodes.subscribe(self._on_node)
        self._pods.subscribe(self._on_pod)

    def _on_node(self, before: Object | None, after: Object | None) -> None:
        if after is None or _evicting(before) == (found := _evicting(after)) or not found:
            return
        for pod in self._pods.by(BY_NODE, name_of(after)):
            self.queue.add(key_of(pod))

    def _on_pod(self, _: Object | None, after: Object | None) -> None:
        node = self._nodes.get("", podlike.node_of(after)) if after is not None else None
        if after is not None and node is not None and _evicting(node):
            self.queue.add(key_of(after))

    async def reconcile(self, key: Key) -> float | None:
        pod = self._pods.get(*key)
        node = self._nodes.get("", podlike.node_of(pod)) if pod is not None else None
        if pod is None or node is None or is_deleting(pod):
            return None
        wait = taints.leaves_in(pod.get("spec") or {}, taints.taints(node), self._clock.now())
        if wait is None or wait > 0:
            return wait
        disrupted = {
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
        }  # fmt: skip
        conditions = with_condition(dig(pod, "status", "conditions"), disrupted, rfc3339(self._clock.now()))
        body = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": conditions}}
        message = f"Marking for deletion Pod {key[0]}/{key[1]}"
        self._board.tell(pod, "Normal", "TaintManagerEviction", message)
        try:
            await self._client.patch(POD, key[1], body, key[0], subresource="status")
            await self._client.delete(POD, key[1], key[0], uid=uid_of(pod))
        except ApiError as error:
            if not (error.not_found or error.conflict):
                raise
        return None


def _evicting(node: Object | None) -> list[tuple[object, object]]:
    found = taints.taints(node or {})
    return [(each.get("key"), each.get("value")) for each in found if each.get("effect") == "NoExecute"]


def _heartbeat(node: Object) -> object:
    ready = condition(node, "Ready") or {}
    return ready.get("lastHeartbeatTime"), ready.get("status")
