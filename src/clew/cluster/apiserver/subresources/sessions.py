"""exec and attach: a process's streams over a WebSocket in `v5.channel.k8s.io` (KEP-4006) and v4.

The first byte of a message names its channel; the exit, and every failure after the upgrade, goes out as a
metav1.Status on the error channel.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
from aiohttp import WSMsgType, web

from clew.api.objects import Object
from clew.cluster.apiserver.errors import internal
from clew.cluster.streams import ExecRequest, Session, StreamError

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_CHUNK = 32 << 10


def exit_status(code: int) -> Object:
    """How the error channel tells an exit code (v4 and later)."""
    if not code:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        "message": f"command terminated with non-zero exit code: error executing command, exit code {code}",
    }  # fmt: skip


class Exchange:
    """One exec or attach; `start` gives the session, or raises StreamError, which the client reads on its socket."""

    protocols = ("v5.channel.k8s.io", "v4.channel.k8s.io")

    def __init__(self, wanted: ExecRequest, start: Callable[[], Awaitable[Session]]) -> None:
        self.wanted = wanted
        self.start = start

    async def run(self, socket: web.WebSocketResponse) -> None:
        """Until the process has ended and its output is out, or the client has gone."""
        try:
            session = await self.start()
        except StreamError as error:
            await _tell(socket, internal(error.message).status())
            return
        outward = asyncio.ensure_future(self._outward(socket, session))
        inward = asyncio.ensure_future(self._inward(socket, session))
        try:
            await asyncio.wait({outward, inward}, return_when=asyncio.FIRST_COMPLETED)
            if inward.done() and not outward.done():
                # The client went away; what it ran is told so by the end of its input, and then left.
                await session.end_input()
        finally:
            for task in (outward, inward):
                task.cancel()
            await asyncio.gather(outward, inward, return_exceptions=True)
            await session.close()

    async def _outward(self, socket: web.WebSocketResponse, session: Session) -> None:
        try:
            async for channel, data in session.output():
                for at in range(0, len(data), _CHUNK):
                    await socket.send_bytes(bytes((channel,)) + data[at : at + _CHUNK])
            status = exit_status(await session.wait())
        except StreamError as error:
            status = internal(error.message).status()
        await _tell(socket, status)

    async def _inward(self, socket: web.WebSocketResponse, session: Session) -> None:
        async for message in socket:
            if message.type not in {WSMsgType.BINARY, WSMsgType.TEXT} or not message.data:
                continue
            data = message.data.encode() if message.type == WSMsgType.TEXT else message.data
            channel, payload = data[0], data[1:]
            if channel == STDIN and self.wanted.stdin and payload:
                await session.write(payload)
            elif channel == CLOSE and payload[:1] == bytes((STDIN,)):
                await session.end_input()
            elif channel == RESIZE:
                with suppress(msgspec.DecodeError, KeyError, TypeError, ValueError):
                    size = msgspec.json.decode(payload)
                    await session.resize(int(size["Width"]), int(size["Height"]))


async def _tell(socket: web.WebSocketResponse, status: Object) -> None:
    with suppress(ConnectionError):  # nobody is there to hear it
        await socket.send_bytes(bytes((ERROR,)) + msgspec.json.encode(status))
