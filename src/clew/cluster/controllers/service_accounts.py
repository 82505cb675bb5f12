"""A ServiceAccount `default` in every namespace, without which no pod can be created there. Called by run.py."""

from clew.api.kinds import NAMESPACE, SERVICE_ACCOUNT
from clew.api.objects import Key, Object, is_deleting, name_of, namespace_of
from clew.cluster.controllers.context import Context
from clew.watch.errors import ApiError
from clew.watch.queue import WorkQueue

DEFAULT = "default"


class ServiceAccountController:
    """Keys are namespaces."""

    workers = 2

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._namespaces = context.informers.of(NAMESPACE)
        self._accounts = context.informers.of(SERVICE_ACCOUNT)
        self.queue: WorkQueue[Key] = WorkQueue("serviceaccount")
        self._namespaces.subscribe(self._on_namespace)
        self._accounts.subscribe(self._on_account)

    def _on_namespace(self, before: Object | None, after: Object | None) -> None:
        if before is None and after is not None:
            self.queue.add(("", name_of(after)))

    def _on_account(self, before: Object | None, after: Object | None) -> None:
        if after is None and before is not None and name_of(before) == DEFAULT:
            self.queue.add(("", namespace_of(before)))

    async def reconcile(self, key: Key) -> float | None:
        namespace = self._namespaces.get("", key[1])
        if namespace is None or is_deleting(namespace) or self._accounts.get(key[1], DEFAULT) is not None:
            return None
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT, "namespace": key[1]}}
        try:
            await self._client.create(SERVICE_ACCOUNT, account)
        except ApiError as error:
            if not (error.already_exists or error.terminating or error.not_found):
                raise
        return None
