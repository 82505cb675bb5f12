"""Gives every node its podCIDRs, once and for good. Called by run.py.

One worker: two nodes are never served at once, and a choice counts from the moment it is made, so that a slow cache
cannot give it away again. A block is free when no node has it; a node that is gone gives its block back.
"""

from collections.abc import Iterable

from clew.api.kinds import NODE
from clew.api.objects import Key, Object, dig, name_of, uid_of
from clew.cluster.controllers.context import Context
from clew.cluster.controllers.nodes.ranges import Ranges
from clew.watch.errors import ApiError
from clew.watch.queue import WorkQueue


class NodeIpamController:
    """Keys are nodes without podCIDR."""

    workers = 1

    def __init__(self, context: Context) -> None:
        options = context.options
        self._client = context.client
        self._nodes = context.informers.of(NODE)
        self._board = context.teller("cidrAllocator")
        self._ranges = Ranges(options.pod_cidrs, options.node_mask_v4, options.node_mask_v6)
        self._chosen: dict[str, list[str]] = {}  # by node uid: written, and not yet seen in the cache
        self.queue: WorkQueue[Key] = WorkQueue("node-ipam", most=5.0)
        self._nodes.subscribe(self._on_node)

    def _on_node(self, before: Object | None, after: Object | None) -> None:
        if after is None and before is not None:
            self._chosen.pop(uid_of(before), None)
            for node in self._nodes.items():  # one of them may have waited for a free block
                self._ask(node)
        elif after is not None:
            self._ask(after)

    def _ask(self, node: Object) -> None:
        if _blocks(node):
            self._chosen.pop(uid_of(node), None)
        else:
            self.queue.add(("", name_of(node)))

    async def reconcile(self, key: Key) -> float | None:
        node = self._nodes.get("", key[1])
        if node is None or _blocks(node):
            return None
        choice = self._chosen.get(uid_of(node)) or self._ranges.choose(self._taken())
        if choice is None:
            message = f"Node {key[1]} status is now: CIDRNotAvailable"
            self._board.tell(node, "Normal", "CIDRNotAvailable", message)
            return None  # a node that goes brings this one back
        self._chosen[uid_of(node)] = choice
        body = {"metadata": {"uid": uid_of(node)}, "spec": {"podCIDR": choice[0], "podCIDRs": choice}}
        try:
            await self._client.patch(NODE, key[1], body)
        except ApiError as error:
            if error.status != 0:  # refused, so surely not stored; when unreachable it may have been
                self._chosen.pop(uid_of(node), None)
            if error.not_found:
                return None
            raise
        return None

    def _taken(self) -> Iterable[str]:
        for node in self._nodes.items():
            yield from _blocks(node)
        for choice in self._chosen.values():
            yield from choice


def _blocks(node: Object) -> list[str]:
    many = dig(node, "spec", "podCIDRs")
    if many:
        return list(many)
    one = dig(node, "spec", "podCIDR")
    return [one] if one else []
