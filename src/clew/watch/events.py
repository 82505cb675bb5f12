"""Events: what a part of Clew has to tell the user of an object, as `kubectl describe` shows it.

Telling never fails and never waits: an Event that cannot be written is logged and dropped, as client-go's are. The
same thing said again within ten minutes raises the count of the Event that said it first; an object about which a
part says too much is told of at most 25 times and then once in five minutes.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from secrets import randbelow
from typing import Any, NamedTuple, Protocol

from clew.api.kinds import EVENT, Kind
from clew.api.objects import Object, metadata
from clew.base.clock import Clock, SystemClock, rfc3339
from clew.watch.errors import ApiError

logger = logging.getLogger(__name__)

SAME_WITHIN = 600.0  # seconds
REMEMBERED = 4096
BURST, REFILL = 25.0, 1 / 300  # Events an object and part, and again a second (client-go's spam filter)


class Writer(Protocol):
    """What a recorder needs of a client."""

    async def create(self, kind: Kind, obj: Object, namespace: str = "") -> Object: ...

    async def patch(self, kind: Kind, name: str, body: Any, namespace: str = "") -> Object: ...


class _Told(NamedTuple):
    name: str
    namespace: str
    times: int
    at: float


class EventRecorder:
    """Speaks for one component; `host` is the node that speaks, if it is one."""

    def __init__(self, client: Writer, component: str, host: str = "", clock: Clock | None = None) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock or SystemClock()
        self._told: OrderedDict[tuple[str, ...], _Told] = OrderedDict()
        self._budget: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._last = 0

    async def record(self, obj: Mapping[str, Any], type: str, reason: str, message: str) -> None:  # noqa: A002  # Event's own word
        """`type` is Normal or Warning, `reason` one CamelCase word. `obj` needs kind, apiVersion and metadata."""
        about = reference(obj)
        message = message[:1024]
        whom = about.get("uid") or f"{about['kind']}/{about['namespace']}/{about['name']}"
        same = (f"{whom} {about.get('fieldPath', '')}", type, reason, message)
        if not self._allowed(whom):
            return
        try:
            await self._write(about, same)
        except ApiError as error:
            if not error.terminating:
                logger.warning("Event %s about %s %s dropped: %s", reason, about["kind"], about["name"], error)

    async def _write(self, about: Object, same: tuple[str, str, str, str]) -> None:
        now = self._clock.monotonic()
        told = self._told.get(same)
        if told is not None and now - told.at < SAME_WITHIN:
            self._remember(same, told._replace(times=told.times + 1, at=now))
            body = {"count": told.times + 1, "lastTimestamp": rfc3339(self._clock.now())}
            try:
                await self._client.patch(EVENT, told.name, body, told.namespace)
                return
            except ApiError as error:
                if not error.not_found:
                    raise
        made = self._event(about, *same[1:])
        self._remember(same, _Told(made["metadata"]["name"], made["metadata"]["namespace"], 1, now))
        await self._client.create(EVENT, made, made["metadata"]["namespace"])

    def _event(self, about: Object, type_: str, reason: str, message: str) -> Object:
        now = self._clock.now()
        moment = rfc3339(now)
        # named by the moment, as client-go does: Events of one second, listed by name, tell the story in its order
        self._last = max(self._last + 1, int(now.timestamp() * 1e6) * 1000 + randbelow(1000))
        source = {"component": self._component} | ({"host": self._host} if self._host else {})
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{about['name'][:220]}.{self._last:x}",
                "namespace": about["namespace"] or "default",
            },
            "involvedObject": about,
            "reason": reason,
            "message": message,
            "type": type_,
            "source": source,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }

    def _remember(self, same: tuple[str, ...], told: _Told) -> None:
        self._told[same] = told
        self._told.move_to_end(same)
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    def _allowed(self, about: str) -> bool:
        """A token bucket an object."""
        now = self._clock.monotonic()
        tokens, at = self._budget.get(about, (BURST, now))
        tokens = min(BURST, tokens + (now - at) * REFILL)
        allowed = tokens >= 1
        self._budget[about] = (tokens - 1 if allowed else tokens, now)
        self._budget.move_to_end(about)
        while len(self._budget) > REMEMBERED:
            self._budget.popitem(last=False)
        return allowed


def reference(obj: Mapping[str, Any]) -> Object:
    """A v1.ObjectReference to the object, or to the part of it that its `fieldPath` names."""
    meta = metadata(obj)
    found = {
        "kind": obj.get("kind", ""),
        "namespace": meta.get("namespace") or "",
        "name": meta.get("name") or "",
        "uid": meta.get("uid") or "",
        "apiVersion": obj.get("apiVersion", ""),
        "resourceVersion": meta.get("resourceVersion") or "",
        "fieldPath": obj.get("fieldPath") or "",
    }
    return {name: value for name, value in found.items() if value or name in {"namespace", "name"}}
