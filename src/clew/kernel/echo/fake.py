"""Paths that a test describes: how much each takes, and whether its narrow place says so."""

import asyncio

from clew.kernel.echo.port import Reply


class FakeEcho:
    """`paths`: by address the bytes that arrive; who is not in it answers nothing. `tells`: routers say so."""

    def __init__(self, paths: dict[str, int] | None = None, *, tells: bool = True) -> None:
        self.paths = paths if paths is not None else {}
        self.tells = tells
        self.asked: list[tuple[str, int]] = []

    async def ask(self, address: str, size: int, seconds: float) -> Reply:
        await asyncio.sleep(0 * seconds)
        self.asked.append((address, size))
        most = self.paths.get(address, 0)
        if size <= most:
            return Reply(came=True)
        return Reply(came=False, mtu=most if most and self.tells else 0)
