"""The ConfigMap `kube-root-ca.crt` in every namespace: whom a pod should believe to be the API server.

Called by run.py.
"""

from clew.api.kinds import CONFIG_MAP, NAMESPACE
from clew.api.objects import Key, Object, is_deleting, name_of, namespace_of
from clew.cluster.controllers.context import Context
from clew.watch.errors import ApiError
from clew.watch.queue import WorkQueue

NAME = "kube-root-ca.crt"
DESCRIPTION = {"kubernetes.io/description": "Whom this cluster's pods believe to be its API server."}


class RootCaController:
    """Keys are namespaces. It has a cache of its own, of these ConfigMaps only."""

    workers = 2

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._pem = context.options.ca_pem
        self._namespaces = context.informers.of(NAMESPACE)
        self._maps = context.informers.of(CONFIG_MAP, fields=f"metadata.name={NAME}")
        self.queue: WorkQueue[Key] = WorkQueue("root-ca")
        self._namespaces.subscribe(self._on_namespace)
        self._maps.subscribe(self._on_map)

    def _on_namespace(self, before: Object | None, after: Object | None) -> None:
        if before is None and after is not None:
            self.queue.add(("", name_of(after)))

    def _on_map(self, before: Object | None, after: Object | None) -> None:
        each = after or before
        if each is not None and name_of(each) == NAME:
            self.queue.add(("", namespace_of(each)))

    async def reconcile(self, key: Key) -> float | None:
        namespace = self._namespaces.get("", key[1])
        if namespace is None or is_deleting(namespace):
            return None
        present = self._maps.get(key[1], NAME)
        wanted = {"ca.crt": self._pem}
        if present is not None and present.get("data") == wanted:
            return None
        meta = {"name": NAME, "namespace": key[1], "annotations": DESCRIPTION}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": wanted}
        try:
            if present is None:
                await self._client.create(CONFIG_MAP, made)
            else:
                await self._client.patch(CONFIG_MAP, NAME, {"data": wanted}, key[1])
        except ApiError as error:
            if not (error.already_exists or error.terminating or error.not_found):
                raise
        return None
