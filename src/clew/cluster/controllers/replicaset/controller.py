"""Keeps every ReplicaSet at its count of pods. Called by run.py; decides nothing itself (plan.py does)."""

from clew.api.kinds import POD, REPLICA_SET
from clew.api.objects import Key, Object, clone, is_deleting, key_of, metadata, name_of, namespace_of, owner_of, uid_of
from clew.api.selectors import LabelSelector
from clew.cluster.controllers import pods as podlike
from clew.cluster.controllers.batch import slow_start
from clew.cluster.controllers.context import BY_NAMESPACE, BY_OWNER, ORPHANS, Context, asked
from clew.cluster.controllers.expectations import LOOK_AGAIN, Expectations
from clew.cluster.controllers.ownership import claim, settle
from clew.cluster.controllers.replicaset.plan import available_soon, plan, same_status, status
from clew.watch.errors import ApiError
from clew.watch.queue import WorkQueue


class ReplicaSetController:
    """Keys are ReplicaSets; pods lead to their owner, orphans to whoever's selector they match."""

    workers = 5

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._sets = context.informers.of(REPLICA_SET)
        self._pods = context.informers.of(POD)
        self._board = context.teller("replicaset-controller")
        self._expected: Expectations[Key] = Expectations(self._pods, context.clock)
        self.queue: WorkQueue[Key] = WorkQueue("replicaset", pace=0.02)
        self._sets.subscribe(self._on_set)
        self._pods.subscribe(self._on_pod)

    def _on_set(self, before: Object | None, after: Object | None) -> None:
        if after is None:
            if before is not None:
                self._expected.forget(key_of(before))
                self.queue.add(key_of(before))
        elif before is None or asked(before) != asked(after):
            self.queue.add(key_of(after))

    def _on_pod(self, before: Object | None, after: Object | None) -> None:
        owners = {_owner_key(pod) for pod in (before, after) if pod is not None}
        for key in owners - {None}:
            self.queue.add(key)  # type: ignore[arg-type]  # None is taken away above
        if after is not None and owner_of(after) is None and not is_deleting(after):
            for candidate in self._sets.by(BY_NAMESPACE, namespace_of(after)):
                if _selector(candidate).matches(metadata(after).get("labels") or {}):
                    self.queue.add(key_of(candidate))

    async def reconcile(self, key: Key) -> float | None:
        replica_set = self._sets.get(*key)
        if replica_set is None:
            return None
        if not self._expected.met(key):
            return LOOK_AGAIN
        owned = await self._own(replica_set)
        now = self._clock.now()
        failure = ""
        todo = plan(replica_set, owned, self._related(replica_set, owned), now)
        unsure = self._expected.unsure(key) if todo.create else None
        error = None if unsure else await self._create(key, replica_set, todo.create)
        error = error or await self._delete(key, replica_set, todo.delete)
        if error is not None:
            failure = error.message
        await self._write_status(replica_set, status(replica_set, owned, failure, now))
        if error is not None and not error.terminating:
            raise error
        return unsure or available_soon(replica_set, owned, now)

    async def _own(self, replica_set: Object) -> list[Object]:
        """The set's pods, orphans adopted and strangers let go."""
        selector = _selector(replica_set)
        mine = list(self._pods.by(BY_OWNER, uid_of(replica_set)))
        orphans = [pod for pod in self._pods.by(BY_OWNER, ORPHANS) if namespace_of(pod) == namespace_of(replica_set)]
        candidates = [pod for pod in (*mine, *orphans) if not podlike.is_finished(pod)]
        claimed = claim(replica_set, selector, candidates)
        return await settle(self._client, REPLICA_SET, replica_set, POD, claimed)

    def _related(self, replica_set: Object, own: list[Object]) -> list[Object]:
        """Pods of all sets of the same owner: two of one Deployment on a node are one too many."""
        owner = owner_of(replica_set)
        if owner is None:
            return own
        siblings = self._sets.by(BY_OWNER, owner["uid"])
        return [pod for sibling in siblings for pod in self._pods.by(BY_OWNER, uid_of(sibling))]

    async def _create(self, key: Key, replica_set: Object, count: int) -> ApiError | None:
        async def one(_: int) -> None:
            pod = podlike.from_template(REPLICA_SET, replica_set, replica_set["spec"]["template"])
            try:
                made = await self._client.create(POD, pod, key[0])
            except ApiError as error:
                self._expected.failed(key, error)
                if not error.terminating:
                    self._board.tell(replica_set, "Warning", "FailedCreate", f"Error creating: {error.message}")
                raise
            self._expected.wrote(key, made)
            self._board.tell(replica_set, "Normal", "SuccessfulCreate", f"Created pod: {name_of(made)}")

        return await slow_start(range(count), one)

    async def _delete(self, key: Key, replica_set: Object, doomed: tuple[Object, ...]) -> ApiError | None:
        async def one(pod: Object) -> None:
            try:
                await self._client.delete(POD, name_of(pod), key[0], uid=uid_of(pod))
            except ApiError as error:
                if error.not_found or error.conflict:
                    return  # gone already, or another pod has the name
                message = f"Error deleting: {error.message}"
                self._board.tell(replica_set, "Warning", "FailedDelete", message)
                raise
            self._expected.deleted(key, pod)
            self._board.tell(replica_set, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

        return await slow_start(doomed, one)

    async def _write_status(self, replica_set: Object, wanted: Object) -> None:
        if same_status(replica_set.get("status"), wanted):
            return
        changed = clone(replica_set)
        changed["status"] = wanted
        try:
            await self._client.update(REPLICA_SET, changed, "status")
        except ApiError as error:
            if not error.not_found:
                raise


def _owner_key(pod: Object) -> Key | None:
    owner = owner_of(pod)
    return (namespace_of(pod), owner["name"]) if owner and owner.get("kind") == REPLICA_SET.kind else None


def _selector(replica_set: Object) -> LabelSelector:
    return LabelSelector.from_object(replica_set["spec"].get("selector"))
