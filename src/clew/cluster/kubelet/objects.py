"""ConfigMaps and Secrets that pods refer to, fetched when wanted and kept for a moment, so that a burst asks once."""

import asyncio
import base64
from collections.abc import Mapping

from clew.api.kinds import CONFIG_MAP, SECRET
from clew.api.objects import Object
from clew.base.clock import Clock
from clew.watch.client import Client
from clew.watch.errors import ApiError

_KINDS = {"ConfigMap": CONFIG_MAP, "Secret": SECRET}
_FRESH = 2.0  # seconds; a container started after a change must see it
_KEPT = 120.0

Key = tuple[str, str, str]  # kind, namespace, name


class ObjectCache:
    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._held: dict[Key, tuple[float, Object | None]] = {}
        self._asking: dict[Key, asyncio.Future[Object | None]] = {}

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, None where there is none. ApiError when the server cannot say."""
        key = (kind, namespace, name)
        held = self._held.get(key)
        if held is not None and self._clock.monotonic() - held[0] < _FRESH:
            return held[1]
        waiting = self._asking
        asking = waiting.get(key)
        if asking is None:
            asking = waiting[key] = asyncio.ensure_future(self._fetch(key, self._held))
            asking.add_done_callback(lambda _: waiting.pop(key, None))
        return await asyncio.shield(asking)

    def forget(self) -> None:
        """Whatever is wanted from now on is asked anew: what is held, or is on its way, may be old."""
        self._held, self._asking = {}, {}

    async def _fetch(self, key: Key, into: dict[Key, tuple[float, Object | None]]) -> Object | None:
        kind, namespace, name = key
        try:
            found: Object | None = await self._client.get(_KINDS[kind], name, namespace)
        except ApiError as error:
            if not error.not_found:
                raise
            found = None
        now = self._clock.monotonic()
        into[key] = (now, found)
        for old in [old for old, (at, _) in into.items() if now - at > _KEPT]:
            del into[old]
        return found


def text_data(kind: str, obj: Object) -> Mapping[str, str]:
    """The data of either kind as text, for the environment."""
    if kind == "ConfigMap":
        return obj.get("data") or {}
    return {name: content.decode(errors="replace") for name, content in byte_data(kind, obj).items()}


def byte_data(kind: str, obj: Object) -> dict[str, bytes]:
    """The data of either kind as files hold it."""
    plain = obj.get("data") or {}
    if kind == "Secret":
        return {name: base64.b64decode(content or "") for name, content in plain.items()}
    binary = {name: base64.b64decode(content or "") for name, content in (obj.get("binaryData") or {}).items()}
    return {name: content.encode() for name, content in plain.items()} | binary
