"""Service account tokens for pods: by TokenRequest, renewed when a fifth of their life is left."""

from clew.api.kinds import SERVICE_ACCOUNT
from clew.api.objects import Object
from clew.base.clock import Clock
from clew.base.value import Value
from clew.watch.client import Client

DEFAULT_SECONDS = 3600
_USED = 0.8
_OLDEST = 24 * 3600.0


class _Token(Value):
    text: str
    renew_at: float


class Tokens:
    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._held: dict[tuple[str, str, int], _Token] = {}

    async def get(self, pod: Object, source: Object) -> str:
        """The token of a `serviceAccountToken` projection, new or still good. ApiError as the server refuses."""
        seconds = int(source.get("expirationSeconds") or DEFAULT_SECONDS)
        audience = source.get("audience") or ""
        meta = pod["metadata"]
        key = (meta["uid"], audience, seconds)
        held = self._held.get(key)
        now = self._clock.monotonic()
        if held is not None and now < held.renew_at:
            return held.text
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
            },
        }
        account = pod["spec"].get("serviceAccountName") or "default"
        answer = await self._client.create(SERVICE_ACCOUNT, request, meta["namespace"], "token", account)
        made = _Token(answer["status"]["token"], now + min(seconds * _USED, _OLDEST))
        self._held[key] = made
        return made.text

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._held if key[0] == uid]:
            del self._held[key]
