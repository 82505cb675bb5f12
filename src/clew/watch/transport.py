"""How requests travel: one aiohttp session, kept alive, opened on first use. Called by the client alone.

aiohttp is loaded on first use too, because commands that never ask a server import the client.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from clew.watch.errors import ApiError, Unreachable, from_response

if TYPE_CHECKING:
    import ssl as tls

    import aiohttp

REQUEST_TIMEOUT = 60.0  # seconds, as kube-apiserver limits a request
CONNECT_TIMEOUT = 10.0
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
        self._ssl = ssl
        self._token = token
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

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
    ) -> "AsyncIterator[aiohttp.ClientResponse]":
        """The response, body unread. `quiet`: seconds without a byte that a stream may last; else the usual limit."""
        from aiohttp import ClientError, ClientTimeout  # noqa: PLC0415  # 165 ms, see the module's docstring
        from yarl import URL  # noqa: PLC0415  # comes with it

        url = URL(f"{self.server}{path}?{urlencode(query)}" if query else f"{self.server}{path}", encoded=True)
        sent = {**(headers or {"Accept": "application/json"})}
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token()}"
        timeout = (
            ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=quiet)
            if quiet
            else ClientTimeout(total=REQUEST_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        )
        try:
            async with self._open().request(
                method, url, data=body, headers=sent, timeout=timeout, server_hostname=self.server_name,
                allow_redirects=False,
            ) as response:  # fmt: skip
                yield response
        except (ClientError, TimeoutError, OSError) as cause:
            raise Unreachable(self.server, cause) from cause

    def _open(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp  # noqa: PLC0415  # as above

            connector = aiohttp.TCPConnector(
                ssl=self._ssl if self._ssl is not None else True, limit=0, keepalive_timeout=30, socket_factory=_socket
            )
            # Identity: on a cluster's own network compressing costs more than sending.
            headers = {"User-Agent": self._user_agent, "Accept-Encoding": "identity"}
            self._session = aiohttp.ClientSession(
                connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=2**18
            )
        return self._session


def _pause(error: ApiError, method: str, attempt: int) -> float | None:
    """Seconds until the same request may be sent again, or None."""
    if attempt > RETRIES:
        return None
    if error.retry_after is not None:
        return max(error.retry_after, 0.05) if error.retry_after <= LONGEST_WAIT else None
    lost = isinstance(error, Unreachable) and not isinstance(error.__cause__, ConnectionRefusedError)
    return 0.0 if lost and method == "GET" and attempt == 1 else None


async def refusal(response: "aiohttp.ClientResponse") -> ApiError:
    return from_response(response.status, await response.read(), response.headers.get("Retry-After", ""))


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices a peer which vanished without a word: a watch has nothing to send that would tell."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    with suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
    return made
