"""Binds pods to nodes and says why it cannot. Called by app/lab, and by tests against a real API server.

It tries whatever is pending, one pod after the other on the loop, counts each decision at once and lets the bindings
be written side by side. A pod that fits nowhere is tried again when something changed that could help it.
"""

import asyncio
import logging
from collections.abc import Mapping

from clew.api.conditions import condition, with_condition
from clew.api.kinds import NAMESPACE, NODE, POD, SERVICE
from clew.api.objects import Key, Object, dig, is_deleting, key_of, labels, metadata, name_of, namespace_of, uid_of
from clew.base.clock import Clock, SystemClock, rfc3339
from clew.cluster.controllers import pods as podlike
from clew.cluster.controllers.endpoints.services import BY_SELECTOR, by_selector, selecting
from clew.cluster.scheduler.affinity import minds_others
from clew.cluster.scheduler.fit import fits
from clew.cluster.scheduler.pending import Pending
from clew.cluster.scheduler.score import best
from clew.cluster.scheduler.state import ClusterState, Host, Placed, effective_taints
from clew.watch.client import Client
from clew.watch.errors import ApiError
from clew.watch.events import EventRecorder
from clew.watch.informer import Informer

logger = logging.getLogger(__name__)

NAME = "default-scheduler"
AT_ONCE = 32  # bindings written side by side
SLICE = 20  # pods decided before others may use the loop
AGAIN = 1.0  # seconds after a binding that failed


async def run_scheduler(client: Client, recorder: EventRecorder | None = None, clock: Clock | None = None) -> None:
    """For ever, with the identity of the client; `recorder` speaks for default-scheduler."""
    await Scheduler(client, recorder or EventRecorder(client, NAME), clock or SystemClock()).run()


class Scheduler:
    def __init__(self, client: Client, recorder: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._pods = Informer(client, POD, clock=clock)
        self._nodes = Informer(client, NODE, clock=clock)
        self._services = Informer(client, SERVICE, clock=clock, indexes={BY_SELECTOR: by_selector})
        self._namespaces = Informer(client, NAMESPACE, clock=clock)
        self._state = ClusterState()
        self._pending = Pending()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._notices: asyncio.Queue[tuple[Object, str, str, str]] = asyncio.Queue(2000)
        self._pods.subscribe(self._on_pod)
        self._nodes.subscribe(self._on_node)

    async def run(self) -> None:
        informers = (self._pods, self._nodes, self._services, self._namespaces)
        async with asyncio.TaskGroup() as tasks:
            for informer in informers:
                tasks.create_task(informer.run())
            tasks.create_task(self._tell())
            for informer in informers:
                await informer.wait_synced()
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._schedule_pending(tasks)

    # What happens.

    def _on_pod(self, before: Object | None, after: Object | None) -> None:
        if after is None:
            if before is not None:
                self._left(before)
            return
        if podlike.node_of(after) or podlike.is_finished(after):
            self._pending.drop(key_of(after))
            if before is not None and _counted(before) == _counted(after):
                return
            self._state.put_pod(after)
            if podlike.is_finished(after):
                self._retry()
            else:
                self._retry_those_that_mind()
        elif _is_ours(after) and not self._state.is_assumed(uid_of(after)):
            if before is None or _wish(before) != _wish(after):
                self._pending.add(after)
                self._wake.set()
        else:
            self._pending.drop(key_of(after))

    def _left(self, pod: Object) -> None:
        self._pending.drop(key_of(pod))
        self._state.drop_pod(uid_of(pod))
        if podlike.node_of(pod):
            self._retry()

    def _on_node(self, before: Object | None, after: Object | None) -> None:
        if after is None:
            self._state.drop_node(name_of(before or {}))
            return
        if before is not None and _offer(before) == _offer(after):
            return
        self._state.put_node(after)
        self._retry()

    def _retry(self) -> None:
        """Something may fit now that did not."""
        for key in list(self._pending.waiting):
            pod = self._pods.get(*key)
            if pod is not None:
                self._pending.add(pod)
        if self._pending:
            self._wake.set()

    def _retry_those_that_mind(self) -> None:
        """A pod was placed: that can only help one that wants to be near it, or evenly spread."""
        for key in list(self._pending.waiting):
            pod = self._pods.get(*key)
            if pod is not None and minds_others(Placed(pod)):
                self._pending.add(pod)
                self._wake.set()

    # What is done.

    async def _schedule_pending(self, tasks: asyncio.TaskGroup) -> None:
        names = {name_of(each): labels(each) for each in self._namespaces.items()}
        for number, key in enumerate(self._pending.take()):
            pod = self._pods.get(*key)
            if pod is None or podlike.node_of(pod) or not _is_ours(pod) or self._state.is_assumed(uid_of(pod)):
                continue
            self._schedule(pod, names, tasks)
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)

    def _schedule(self, pod: Object, names: Mapping[str, Mapping[str, str]], tasks: asyncio.TaskGroup) -> None:
        placed = Placed(pod)
        fit = fits(placed, self._state, names)
        if not fit.hosts:
            self._pending.wait(key_of(pod))
            tasks.create_task(self._report(pod, fit.message))
            return
        host = best(placed, fit.hosts, self._state, names, self._siblings(placed, fit.hosts))
        self._state.assume(placed, host.name)
        tasks.create_task(self._bind(pod, host.name))

    def _siblings(self, pod: Placed, hosts: list[Host]) -> list[int] | None:
        """For a pod without owner: how many pods of its services each host has; None when no service selects it."""
        if pod.owner:
            return None
        keys = selecting(self._services, pod.pod)
        found = (self._services.get(*key) for key in keys)
        selectors = [service["spec"]["selector"] for service in found if service is not None]
        if not selectors:
            return None
        return [
            sum(
                1
                for each in host.placed.values()
                if each.namespace == pod.namespace and any(one.items() <= each.labels.items() for one in selectors)
            )
            for host in hosts
        ]

    async def _bind(self, pod: Object, node: str) -> None:
        namespace, name = key_of(pod)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": namespace, "name": name, "uid": uid_of(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            async with self._slots:
                await self._client.create(POD, binding, namespace, "binding", name)
        except ApiError as error:
            self._state.forget(uid_of(pod))
            if error.not_found:
                return
            logger.log(
                logging.DEBUG if error.conflict else logging.WARNING, "binding %s/%s failed: %s", namespace, name, error
            )
            await self._clock.sleep(AGAIN)
            self._try_again(key_of(pod))
        else:
            self._note(pod, "Normal", "Scheduled", f"Successfully assigned {namespace}/{name} to {node}")

    def _try_again(self, key: Key) -> None:
        pod = self._pods.get(*key)
        if pod is not None and not podlike.node_of(pod) and _is_ours(pod):
            self._pending.add(pod)
            self._wake.set()

    async def _report(self, pod: Object, message: str) -> None:
        """Show on the pod why it waits, if that is news."""
        old = condition(pod, "PodScheduled") or {}
        if old.get("status") == "False" and old.get("message") == message:
            return
        self._note(pod, "Warning", "FailedScheduling", message)
        new = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        conditions = with_condition(dig(pod, "status", "conditions"), new, rfc3339(self._clock.now()))
        body = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": conditions}}
        try:
            await self._client.patch(POD, name_of(pod), body, namespace_of(pod), subresource="status")
        except ApiError as error:
            if not (error.not_found or error.conflict):
                logger.warning("%s/%s: cannot show why it is pending: %s", *key_of(pod), error)

    def _note(self, pod: Object, type_: str, reason: str, message: str) -> None:
        if not self._notices.full():
            self._notices.put_nowait((pod, type_, reason, message))

    async def _tell(self) -> None:
        while True:
            await self._recorder.record(*await self._notices.get())


def _is_ours(pod: Object) -> bool:
    spec = pod.get("spec") or {}
    return (spec.get("schedulerName") or NAME) == NAME and not spec.get("schedulingGates") and not is_deleting(pod)


def _wish(pod: Object) -> tuple[object, ...]:
    """What of a pending pod decides where it fits."""
    return pod.get("spec"), labels(pod), metadata(pod).get("uid")


def _counted(pod: Object) -> tuple[object, ...]:
    """What of a placed pod the state counts."""
    return (
        podlike.node_of(pod), podlike.is_finished(pod), is_deleting(pod), labels(pod),
        [each.get("resources") for each in dig(pod, "spec", "containers") or ()],
    )  # fmt: skip


def _offer(node: Object) -> tuple[object, ...]:
    """What of a node decides what fits on it."""
    status = node.get("status") or {}
    return (
        labels(node), effective_taints(node), dig(node, "spec", "unschedulable"), status.get("allocatable"),
        status.get("capacity"),
    )  # fmt: skip
