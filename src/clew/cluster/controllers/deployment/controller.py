"""Rolls every Deployment from template to template, scales it, pauses it, keeps its history. Called by run.py."""

from clew.api.kinds import DEPLOYMENT, POD, REPLICA_SET
from clew.api.objects import (
    Key,
    Object,
    annotations,
    clone,
    dig,
    is_deleting,
    key_of,
    labels,
    name_of,
    namespace_of,
    owner_of,
    uid_of,
)  # fmt: skip
from clew.api.selectors import LabelSelector
from clew.base.value import Value
from clew.cluster.controllers import pods as podlike
from clew.cluster.controllers.context import BY_NAMESPACE, BY_OWNER, ORPHANS, Context, asked
from clew.cluster.controllers.deployment import revisions, rollout
from clew.cluster.controllers.deployment.rollout import Limits, Replicas, Sizes, limits
from clew.cluster.controllers.deployment.status import counts, is_complete, look_again, status, with_progress
from clew.cluster.controllers.expectations import LOOK_AGAIN, Expectations
from clew.cluster.controllers.ownership import claim, settle
from clew.watch.errors import ApiError
from clew.watch.queue import WorkQueue


class View(Value):
    """A Deployment and its ReplicaSets at one moment; `old` is oldest first."""

    deployment: Object
    new: Object | None
    old: list[Object]
    limit: Limits

    @property
    def sets(self) -> list[Object]:
        return [*self.old, self.new] if self.new is not None else self.old


class DeploymentController:
    """Keys are Deployments; ReplicaSets lead to their owner, and so do the pods of a Recreate."""

    workers = 5

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._deployments = context.informers.of(DEPLOYMENT)
        self._sets = context.informers.of(REPLICA_SET)
        self._pods = context.informers.of(POD)
        self._board = context.teller("deployment-controller")
        self._expected: Expectations[Key] = Expectations(self._sets, context.clock)
        self.queue: WorkQueue[Key] = WorkQueue("deployment", pace=0.02)
        self._deployments.subscribe(self._on_deployment)
        self._sets.subscribe(self._on_set)
        self._pods.subscribe(self._on_pod)

    def _on_deployment(self, before: Object | None, after: Object | None) -> None:
        if after is None:
            if before is not None:
                self._expected.forget(key_of(before))
        elif before is None or asked(before) != asked(after):
            self.queue.add(key_of(after))

    def _on_set(self, before: Object | None, after: Object | None) -> None:
        for each in (before, after):
            owner = owner_of(each) if each else None
            if each is not None and owner is not None and owner.get("kind") == DEPLOYMENT.kind:
                self.queue.add((namespace_of(each), owner["name"]))
        if after is not None and owner_of(after) is None and not is_deleting(after):
            for candidate in self._deployments.by(BY_NAMESPACE, namespace_of(after)):
                if _selector(candidate).matches(labels(after)):
                    self.queue.add(key_of(candidate))

    def _on_pod(self, before: Object | None, after: Object | None) -> None:
        """A Recreate goes on when the last old pod is gone; nothing else here depends on pods."""
        if before is None or (after is not None and not podlike.is_finished(after)):
            return
        owner = owner_of(before)
        replica_set = self._sets.get(namespace_of(before), owner["name"]) if owner else None
        above = owner_of(replica_set) if replica_set else None
        deployment = self._deployments.get(namespace_of(before), above["name"]) if above else None
        if deployment is not None and _is_recreate(deployment):
            self.queue.add(key_of(deployment))

    async def reconcile(self, key: Key) -> float | None:
        deployment = self._deployments.get(*key)
        if deployment is None:
            return None
        if not self._expected.met(key):
            return LOOK_AGAIN
        view = self._view(deployment, await self._own(deployment))
        if is_deleting(deployment):
            await self._write_status(view)
            return None
        if dig(deployment, "spec", "paused") or self._was_scaled(view):
            view = await self._numbered(view, create=False)
            await self._resize(view, self._scale(view))
        else:
            view = await self._numbered(view, create=True)
            if view.new is None:
                return LOOK_AGAIN
            await self._resize(view, self._roll(view, view.new))
        if self._expected.met(key):
            await self._write_status(view)
        if is_complete(counts(view.deployment, view.new, view.sets), view.limit):
            await self._forget_history(view)
        return look_again(self._deployments.get(*key) or deployment, self._clock.now())

    # Reading.

    async def _own(self, deployment: Object) -> list[Object]:
        mine = list(self._sets.by(BY_OWNER, uid_of(deployment)))
        orphans = [each for each in self._sets.by(BY_OWNER, ORPHANS) if namespace_of(each) == namespace_of(deployment)]
        claimed = claim(deployment, _selector(deployment), [*mine, *orphans])
        return await settle(self._client, DEPLOYMENT, deployment, REPLICA_SET, claimed)

    @staticmethod
    def _view(deployment: Object, sets: list[Object]) -> View:
        new = revisions.present(deployment, sets)
        old = [each for each in revisions.oldest_first(sets) if each is not new]
        return View(deployment, new, old, limits(deployment))

    @staticmethod
    def _was_scaled(view: View) -> bool:
        """Some set remembers another size of the Deployment than it has now."""
        wanted = str(view.limit.wanted)
        active = (each for each in view.sets if each["spec"].get("replicas"))
        return any(annotations(each).get(revisions.DESIRED, wanted) != wanted for each in active)

    # Deciding.

    def _scale(self, view: View) -> Sizes:
        """Sizes when the Deployment was scaled or is paused."""
        active = [each for each in view.sets if each["spec"].get("replicas")]
        if len(active) <= 1:
            only = active[0] if active else view.new or (view.old[-1] if view.old else None)
            return {name_of(only): view.limit.wanted} if only is not None else {}
        if view.new is not None and _is_saturated(view.new, view.limit):
            return {name_of(each): 0 for each in view.old if each["spec"].get("replicas")}
        if _is_recreate(view.deployment):
            return {}
        ordered = revisions.oldest_first(active)
        before = int(dig(view.deployment, "status", "replicas") or 0)
        return rollout.proportional([_replicas(each) for each in ordered], view.limit, before)

    def _roll(self, view: View, new: Object) -> Sizes:
        """The next step of a rollout; nothing is taken away in the step that adds."""
        if _is_recreate(view.deployment):
            return self._recreate(view, new)
        old = [_replicas(each) for each in view.old]
        fresh = _replicas(new)
        size = rollout.new_size(fresh, old, view.limit)
        return {fresh.name: size} if size != fresh.wanted else rollout.old_sizes(fresh, old, view.limit)

    def _recreate(self, view: View, new: Object) -> Sizes:
        """Everything old goes before anything new comes."""
        if sizes := {name_of(each): 0 for each in view.old if each["spec"].get("replicas")}:
            return sizes
        pods = (pod for each in view.old for pod in self._pods.by(BY_OWNER, uid_of(each)))
        left = any(not podlike.is_finished(pod) for pod in pods)
        return {} if left else {name_of(new): view.limit.wanted}

    # Writing.

    async def _numbered(self, view: View, *, create: bool) -> View:
        """The view with the present set's revision and annotations as they should be; made where it is missing."""
        revision = revisions.next_revision(view.old)
        deployment, new = view.deployment, view.new
        if new is not None:
            new = await self._noted(view, new, revision)
        elif create and (new := await self._make(view, revision)) is not None:
            message = f'Created new replica set "{name_of(new)}"'
            deployment = await self._note_progress(deployment, "NewReplicaSetCreated", message)
        if new is None:
            return view
        number = str(revisions.revision_of(new))
        if annotations(deployment).get(revisions.REVISION) != number:
            body = {"metadata": {"annotations": {revisions.REVISION: number}}}
            deployment = await self._client.patch(DEPLOYMENT, name_of(deployment), body, namespace_of(deployment))
        return View(deployment, new, view.old, view.limit)

    async def _noted(self, view: View, new: Object, revision: int) -> Object:
        notes = revisions.noted(view.deployment, new, revision)
        min_ready = int(dig(view.deployment, "spec", "minReadySeconds") or 0)
        if notes == annotations(new) and min_ready == int(new["spec"].get("minReadySeconds") or 0):
            return new
        changed = clone(new)
        changed["metadata"]["annotations"] = notes
        changed["spec"]["minReadySeconds"] = min_ready
        return await self._write_set(view.deployment, changed)

    async def _make(self, view: View, revision: int) -> Object | None:
        """Create the set of the present template; None when its name is another template's, so that the hash moves."""
        deployment = view.deployment
        if _is_recreate(deployment):
            size = 0
        else:
            fresh = Replicas("", 0, 0)
            size = rollout.new_size(fresh, [_replicas(each) for each in view.old], view.limit)
        wanted = revisions.new_set(deployment, size, revision, view.limit.most)
        try:
            made = await self._client.create(REPLICA_SET, wanted)
        except ApiError as error:
            if error.already_exists:
                return await self._existing(deployment, wanted)
            if not error.terminating:
                message = f'Failed to create new replica set "{name_of(wanted)}": {error.message}'
                self._board.tell(deployment, "Warning", "ReplicaSetCreateError", message)
                await self._note_progress(deployment, "ReplicaSetCreateError", error.message, "False")
            raise
        self._expected.wrote(key_of(deployment), made)
        if size:
            message = f"Scaled up replica set {name_of(made)} from 0 to {size}"
            self._board.tell(deployment, "Normal", "ScalingReplicaSet", message)
        return made

    async def _existing(self, deployment: Object, wanted: Object) -> Object | None:
        found = await self._client.get(REPLICA_SET, name_of(wanted), namespace_of(wanted))
        owner = owner_of(found)
        same = revisions.same_template(found["spec"]["template"], wanted["spec"]["template"])
        if owner is not None and owner.get("uid") == uid_of(deployment) and same:
            self._expected.wrote(key_of(deployment), found)
            return found
        collisions = int(dig(deployment, "status", "collisionCount") or 0) + 1
        await self._patch_status(deployment, {"collisionCount": collisions})
        return None

    async def _resize(self, view: View, sizes: Sizes) -> None:
        """Write new sizes, and what a set remembers of the Deployment's."""
        for each in view.sets:
            old = int(each["spec"].get("replicas") or 0)
            size = sizes.get(name_of(each), old)
            notes = revisions.scale_notes(view.deployment, view.limit.most)
            remembers = not size or notes.items() <= annotations(each).items()
            if size == old and remembers:
                continue
            changed = clone(each)
            changed["spec"]["replicas"] = size
            changed["metadata"].setdefault("annotations", {}).update(notes)
            await self._write_set(view.deployment, changed)
            if size != old:
                way = "up" if size > old else "down"
                message = f"Scaled {way} replica set {name_of(each)} from {old} to {size}"
                self._board.tell(view.deployment, "Normal", "ScalingReplicaSet", message)

    async def _write_set(self, deployment: Object, changed: Object) -> Object:
        written = await self._client.update(REPLICA_SET, changed)
        self._expected.wrote(key_of(deployment), written)
        return written

    async def _write_status(self, view: View) -> None:
        now = self._clock.now()
        wanted = status(view.deployment, view.new, view.sets, view.limit, now)
        if _same(view.deployment.get("status") or {}, wanted):
            return
        changed = clone(view.deployment)
        changed["status"] = wanted
        await self._client.update(DEPLOYMENT, changed, "status")

    async def _note_progress(self, deployment: Object, reason: str, message: str, state: str = "True") -> Object:
        if dig(deployment, "spec", "progressDeadlineSeconds") is None:
            return deployment
        conditions = with_progress(deployment, reason, message, self._clock.now(), state)
        return await self._patch_status(deployment, {"conditions": conditions})

    async def _patch_status(self, deployment: Object, fields: Object) -> Object:
        namespace, name = key_of(deployment)
        return await self._client.patch(DEPLOYMENT, name, {"status": fields}, namespace, subresource="status")

    async def _forget_history(self, view: View) -> None:
        for each in revisions.to_forget(view.deployment, view.old):
            try:
                await self._client.delete(REPLICA_SET, name_of(each), namespace_of(each), uid=uid_of(each))
            except ApiError as error:
                if not (error.not_found or error.conflict):
                    raise


def _same(old: Object, new: Object) -> bool:
    return all((old.get(field) or 0) == (value or 0) for field, value in new.items())


def _is_recreate(deployment: Object) -> bool:
    return bool(dig(deployment, "spec", "strategy", "type") == "Recreate")


def _is_saturated(new: Object, limit: Limits) -> bool:
    """The present set carries the whole Deployment."""
    return (
        int(new["spec"].get("replicas") or 0) == limit.wanted
        and annotations(new).get(revisions.DESIRED) == str(limit.wanted)
        and int(dig(new, "status", "availableReplicas") or 0) == limit.wanted
    )


def _replicas(each: Object) -> Replicas:
    most = annotations(each).get(revisions.MOST, "")
    return Replicas(
        name_of(each),
        int(each["spec"].get("replicas") or 0),
        int(dig(each, "status", "availableReplicas") or 0),
        int(most) if most.isdigit() else 0,
    )


def _selector(deployment: Object) -> LabelSelector:
    return LabelSelector.from_object(deployment["spec"].get("selector"))
