"""Keeps every DaemonSet's pods on every node where they belong. Called by run.py; plan.py decides."""

from clew.api.kinds import CONTROLLER_REVISION, DAEMON_SET, NODE, POD, Kind
from clew.api.objects import (
    Key,
    Object,
    clone,
    dig,
    is_deleting,
    key_of,
    labels,
    name_of,
    namespace_of,
    owner_of,
    uid_of,
)
from clew.api.selectors import LabelSelector
from clew.cluster.controllers.batch import slow_start
from clew.cluster.controllers.context import BY_NAMESPACE, BY_OWNER, ORPHANS, Context, asked
from clew.cluster.controllers.daemonset import revisions
from clew.cluster.controllers.daemonset.placement import node_of, pod_for
from clew.cluster.controllers.daemonset.plan import Plan, Scene, available_soon, by_node, plan, status
from clew.cluster.controllers.deployment.revisions import same_template
from clew.cluster.controllers.expectations import LOOK_AGAIN, Expectations
from clew.cluster.controllers.nodes.taints import taints
from clew.cluster.controllers.ownership import claim, settle
from clew.cluster.controllers.replicaset.plan import same_status
from clew.watch.backoff import Backoff
from clew.watch.errors import ApiError
from clew.watch.queue import WorkQueue

FAILED_FIRST, FAILED_LATEST = 1.0, 900.0  # seconds between two pods that fail on one node


class DaemonSetController:
    """Keys are DaemonSets; nodes concern all of them, pods their owner."""

    workers = 2

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._sets = context.informers.of(DAEMON_SET)
        self._nodes = context.informers.of(NODE)
        self._pods = context.informers.of(POD)
        self._revisions = context.informers.of(CONTROLLER_REVISION)
        self._board = context.teller("daemonset-controller")
        self._expected: Expectations[Key] = Expectations(self._pods, context.clock)
        self._expected_revisions: Expectations[Key] = Expectations(self._revisions, context.clock)
        self._failing: dict[tuple[str, str], tuple[float, Backoff]] = {}
        self.queue: WorkQueue[Key] = WorkQueue("daemonset", pace=0.02)
        self._sets.subscribe(self._on_set)
        self._nodes.subscribe(self._on_node)
        self._pods.subscribe(self._on_pod)
        self._revisions.subscribe(self._on_revision)

    def _on_set(self, before: Object | None, after: Object | None) -> None:
        if after is None:
            if before is not None:
                self._expected.forget(key_of(before))
                self._expected_revisions.forget(key_of(before))
        elif before is None or asked(before) != asked(after):
            self.queue.add(key_of(after))

    def _on_node(self, before: Object | None, after: Object | None) -> None:
        if before is None or after is None or _placing(before) != _placing(after):
            for each in self._sets.items():
                self.queue.add(key_of(each))

    def _on_pod(self, before: Object | None, after: Object | None) -> None:
        for pod in (before, after):
            owner = owner_of(pod) if pod is not None else None
            if pod is not None and owner is not None and owner.get("kind") == DAEMON_SET.kind:
                self.queue.add((namespace_of(pod), owner["name"]))
        if after is not None and owner_of(after) is None and not is_deleting(after):
            for candidate in self._sets.by(BY_NAMESPACE, namespace_of(after)):
                if _selector(candidate).matches(labels(after)):
                    self.queue.add(key_of(candidate))

    def _on_revision(self, before: Object | None, after: Object | None) -> None:
        each = after or before
        owner = owner_of(each) if each is not None else None
        if each is not None and owner is not None and owner.get("kind") == DAEMON_SET.kind:
            self.queue.add((namespace_of(each), owner["name"]))

    async def reconcile(self, key: Key) -> float | None:
        daemon_set = self._sets.get(*key)
        if daemon_set is None:
            return None
        if not (self._expected.met(key) and self._expected_revisions.met(key)):
            return LOOK_AGAIN
        history = list(self._revisions.by(BY_OWNER, uid_of(daemon_set)))
        revision = await self._revision(daemon_set, history)
        if revision is None:
            return LOOK_AGAIN
        owned = await self._own(daemon_set)
        nodes = list(self._nodes.items())
        scene = Scene(daemon_set, nodes, by_node(owned), revisions.hash_of(revision), self._clock.now())
        wait = await self._act(key, scene, plan(scene))
        await self._write_status(scene)
        if not is_deleting(daemon_set):
            await self._forget_history(daemon_set, history, owned)
        return min((each for each in (wait, available_soon(scene)) if each is not None), default=None)

    async def _own(self, daemon_set: Object) -> list[Object]:
        mine = list(self._pods.by(BY_OWNER, uid_of(daemon_set)))
        orphans = [pod for pod in self._pods.by(BY_OWNER, ORPHANS) if namespace_of(pod) == namespace_of(daemon_set)]
        claimed = claim(daemon_set, _selector(daemon_set), [*mine, *orphans])
        return await settle(self._client, DAEMON_SET, daemon_set, POD, claimed)

    # Revisions.

    async def _revision(self, daemon_set: Object, history: list[Object]) -> Object | None:
        """The revision of the present template, made or made the newest; None when another has its name."""
        found = revisions.present(daemon_set, history)
        newest = max(map(revisions.number, history), default=0)
        if found is not None:
            if revisions.number(found) == newest or is_deleting(daemon_set):
                return found
            body = {"revision": newest + 1}  # rolled back to: it is the newest again
            patched = await self._client.patch(CONTROLLER_REVISION, name_of(found), body, namespace_of(found))
            self._expected_revisions.wrote(key_of(daemon_set), patched)
            return patched
        wanted = revisions.new_revision(daemon_set, history)
        try:
            made = await self._client.create(CONTROLLER_REVISION, wanted)
        except ApiError as error:
            if not error.already_exists:
                raise
            return await self._collided(daemon_set, wanted)
        self._expected_revisions.wrote(key_of(daemon_set), made)
        return made

    async def _collided(self, daemon_set: Object, wanted: Object) -> Object | None:
        present = await self._client.get(CONTROLLER_REVISION, name_of(wanted), namespace_of(wanted))
        template = dict(dig(present, "data", "spec", "template") or {})
        template.pop("$patch", None)
        owner = owner_of(present)
        ours = owner is not None and owner.get("uid") == uid_of(daemon_set)
        if ours and same_template(template, dig(daemon_set, "spec", "template")):
            self._expected_revisions.wrote(key_of(daemon_set), present)
            return present
        collisions = int(dig(daemon_set, "status", "collisionCount") or 0) + 1
        body = {"status": {"collisionCount": collisions}}
        await self._client.patch(DAEMON_SET, name_of(daemon_set), body, namespace_of(daemon_set), subresource="status")
        return None

    async def _forget_history(self, daemon_set: Object, history: list[Object], pods: list[Object]) -> None:
        for each in revisions.to_forget(daemon_set, history, pods):
            await self._gone(CONTROLLER_REVISION, each)

    # Pods.

    async def _act(self, key: Key, scene: Scene, todo: Plan) -> float | None:
        """Delete, then create; the seconds until a node whose pod failed is due, if one is held back."""
        wait = None
        held: set[str] = set()
        for pod in todo.failed:
            left = self._failed_again(scene.daemon_set, node_of(pod))
            if left > 0:
                held.add(uid_of(pod))
                wait = left if wait is None else min(wait, left)
            else:
                message = f"Found failed daemon pod {namespace_of(pod)}/{name_of(pod)} on node {node_of(pod)}, will try to kill it"  # noqa: E501  # the real one's words
                self._board.tell(scene.daemon_set, "Warning", "FailedDaemonPod", message)
        await self._delete(key, scene.daemon_set, [pod for pod in todo.delete if uid_of(pod) not in held])
        unsure = self._expected.unsure(key) if todo.create else None
        if unsure:
            return unsure if wait is None else min(wait, unsure)
        generation = revisions.generation(scene.daemon_set)

        async def create(node: str) -> None:
            pod = pod_for(scene.daemon_set, node, scene.revision_hash, generation)
            try:
                made = await self._client.create(POD, pod, key[0])
            except ApiError as error:
                self._expected.failed(key, error)
                if not error.terminating:
                    message = f"Error creating: {error.message}"
                    self._board.tell(scene.daemon_set, "Warning", "FailedCreate", message)
                raise
            self._expected.wrote(key, made)
            self._board.tell(scene.daemon_set, "Normal", "SuccessfulCreate", f"Created pod: {name_of(made)}")

        error = await slow_start(todo.create, create)
        if error is not None and not error.terminating:
            raise error
        return wait

    def _failed_again(self, daemon_set: Object, node: str) -> float:
        """Seconds for which a failed pod is left where it is, so that what always fails fails ever less often."""
        now = self._clock.monotonic()
        key = (uid_of(daemon_set), node)
        due, backoff = self._failing.get(key, (0.0, Backoff(FAILED_FIRST, FAILED_LATEST)))
        if now < due:
            return due - now
        self._failing[key] = (now + backoff.next(), backoff)
        return 0.0

    async def _delete(self, key: Key, daemon_set: Object, doomed: list[Object]) -> None:
        for pod in doomed:
            if await self._gone(POD, pod):
                self._expected.deleted(key, pod)
                self._board.tell(daemon_set, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    async def _gone(self, kind: Kind, obj: Object) -> bool:
        """Delete it; False when it was not there any more."""
        try:
            await self._client.delete(kind, name_of(obj), namespace_of(obj), uid=uid_of(obj))
        except ApiError as error:
            if error.not_found or error.conflict:
                return False
            raise
        return True

    async def _write_status(self, scene: Scene) -> None:
        wanted = status(scene)
        if same_status(scene.daemon_set.get("status"), wanted):
            return
        changed = clone(scene.daemon_set)
        changed["status"] = wanted
        await self._client.update(DAEMON_SET, changed, "status")


def _selector(daemon_set: Object) -> LabelSelector:
    return LabelSelector.from_object(daemon_set["spec"].get("selector"))


def _placing(node: Object) -> tuple[object, ...]:
    """What of a node decides whether daemons belong on it."""
    return labels(node), taints(node)
