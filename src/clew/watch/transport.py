"""How requests travel: who asks, how long, and when again. Called by the client alone; http1.py has the bytes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from clew.watch.errors import ApiError, Unreachable, from_response
from clew.watch.http1 import Response, Server

if TYPE_CHECKING:
    import ssl as tls

REQUEST_TIMEOUT = 60.0  # seconds, as kube-apiserver limits a request
RETRIES = 3
AT_ONCE = 16  # requests side by side; more would cost a TLS handshake each and gain nothing. Watches do not count
LONGEST_WAIT = 10.0  # seconds; a server that asks for more is reported to the caller


class Transport:
    """`server_name` replaces the host in the certificate's check where it is set."""

    def __init__(
        self, server: str, *, ssl: "tls.SSLContext | None", token: Callable[[], str] | None, user_agent: str
    ) -> None:
        self.server = server.rstrip("/")
        self.server_name: str | None = None
        self._token = token
        self._user_agent = user_agent
        self._server = Server(self.server, ssl)
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        await self._server.close()

    def leave(self, address: str) -> None:
        self._server.leave(address)

    async def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        *,
        accept: str = "application/json",
    ) -> bytes:
        """One request, its answer's body. Tried again only where nothing can be done twice.

        That is: the server said that it did nothing yet and when to return, or a read lost its connection.
        """
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        attempt = 0
        while True:
            try:
                async with self._slots, self.response(method, path, query or {}, body, headers) as response:
                    if response.status < 300:
                        return await response.read()
                    raise await refusal(response)
            except ApiError as error:
                attempt += 1
                pause = _pause(error, method, attempt)
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def response(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        quiet: float = 0,
    ) -> AsyncIterator[Response]:
        """The response, body unread. `quiet`: seconds without a byte that a stream may last; else the usual limit."""
        sent = {"User-Agent": self._user_agent, **(headers or {"Accept": "application/json"})}
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token()}"
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            async with (
                asyncio.timeout(None if quiet else REQUEST_TIMEOUT),
                self._server.request(method, target, sent, body, self.server_name) as response,
            ):
                response.quiet = quiet or None
                yield response
        except OSError as cause:
            raise Unreachable(self.server, cause) from cause


def _pause(error: ApiError, method: str, attempt: int) -> float | None:
    """Seconds until the same request may be sent again, or None."""
    if attempt > RETRIES:
        return None
    if error.retry_after is not None:
        return max(error.retry_after, 0.05) if error.retry_after <= LONGEST_WAIT else None
    late = ConnectionRefusedError | TimeoutError  # who is late has enough to do
    lost = isinstance(error, Unreachable) and not isinstance(error.__cause__, late)
    return 0.0 if lost and method == "GET" and attempt == 1 else None


async def refusal(response: Response) -> ApiError:
    return from_response(response.status, await response.read(), response.headers.get("retry-after", ""))
