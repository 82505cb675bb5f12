"""Writes what packing decided, and remembers until the cache has seen it."""

from clew.api.kinds import ENDPOINT_SLICE
from clew.api.objects import Key, name_of, namespace_of
from clew.cluster.controllers.context import Context
from clew.cluster.controllers.endpoints.packing import Changes
from clew.cluster.controllers.expectations import Expectations
from clew.watch.errors import ApiError


class SliceWriter:
    """For one controller; keys are of the service or the Endpoints that slices are made for."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._expected: Expectations[Key] = Expectations(context.informers.of(ENDPOINT_SLICE), context.clock)

    def settled(self, key: Key) -> bool:
        """The cache has seen all that was written for the key."""
        return self._expected.met(key)

    def forget(self, key: Key) -> None:
        self._expected.forget(key)

    async def write(self, key: Key, changes: Changes) -> float | None:
        """New endpoints before old ones go; the seconds after which to look again, when some could not be made yet.

        Raises ApiError; a namespace that is going takes nothing, quietly.
        """
        unsure = self._expected.unsure(key) if changes.create else None
        for made in changes.create if unsure is None else ():
            try:
                self._expected.wrote(key, await self._client.create(ENDPOINT_SLICE, made))
            except ApiError as error:
                self._expected.failed(key, error)
                if not error.terminating:
                    raise
        for changed in changes.update:
            self._expected.wrote(key, await self._client.update(ENDPOINT_SLICE, changed))
        for stale in changes.delete:
            try:
                await self._client.delete(ENDPOINT_SLICE, name_of(stale), namespace_of(stale))
            except ApiError as error:
                if not error.not_found:
                    raise
            self._expected.deleted(key, stale)
        return unsure
