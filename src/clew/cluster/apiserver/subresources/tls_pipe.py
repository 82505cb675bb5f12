"""TLS over a connection into a pod, for programs behind …/proxy that speak it. Their certificates are not judged.

The pipe leads into the pod's own network by way of its node, so that there is nobody between whom a certificate could
tell from the program; kube-apiserver does not verify them either. Called by proxy.
"""

import ssl
from collections.abc import Callable
from typing import TypeVar

from clew.cluster.streams import Duplex

T = TypeVar("T")
_PIECE = 64 << 10


class TlsPipe:
    """A Duplex of what is inside; ssl.SSLError where the other side speaks no TLS, or breaks it off."""

    def __init__(self, pipe: Duplex) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._pipe = pipe
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out)

    async def read(self) -> bytes:
        try:
            return await self._do(lambda: self._tls.read(_PIECE))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def write(self, data: bytes) -> None:
        await self._do(lambda: self._tls.write(data))

    async def end(self) -> None:
        """TLS has no half: the program learns from the request where it ends."""

    async def close(self) -> None:
        await self._pipe.close()

    async def _do(self, act: Callable[[], T]) -> T:
        """Let TLS act, with all that it wants to hear or say before; the handshake comes with the first act."""
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                await self._flush()
                if data := await self._pipe.read():
                    self._in.write(data)
                else:
                    self._in.write_eof()
                continue
            await self._flush()
            return result

    async def _flush(self) -> None:
        if data := self._out.read():
            await self._pipe.write(data)
