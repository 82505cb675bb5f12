"""What the paths to other nodes really take: each is asked with a packet as large as our link and not to be cut.

The link's MTU says nothing of the networks between, and a narrow place that drops without a word (a switch, a
filtered ICMP) is never found by the kernel's own discovery. So each peer is asked when it becomes known, when the
link changes, and every minute; where the large packet does not come back and a small one does, the size that does is
searched (RFC 8899's idea, by ICMP echo: the other kernel answers). Nothing changes for a peer that answers nothing.
Called by podnet.py, which puts what is found into the routes; run by app/agent_network.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from clew.base.clock import Clock, happens_within
from clew.kernel.echo import Echo
from clew.kernel.echo.port import LEAST

logger = logging.getLogger(__name__)

EVERY = 60.0  # seconds
PATIENCE = 0.3  # seconds for an answer; a path of more than that is no cluster's
TRIES = 3  # a packet may be lost for other reasons
AT_ONCE = 16  # peers


class PathMtu:
    """`paths` has by address those that take less than the link, in bytes; `changed` is called when it changes."""

    def __init__(self, echo: Echo, clock: Clock, changed: Callable[[], None]) -> None:
        self._echo, self._clock, self._changed = echo, clock, changed
        self._link = 0
        self._peers: Mapping[str, str] = {}
        self._wanted = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._asked: set[str] = set()
        self.paths: dict[str, int] = {}

    def want(self, peers: Mapping[str, str], link: int) -> None:
        """By address who it is; `link` is the MTU of our own link, in bytes."""
        if link != self._link:
            self._asked.clear()
        if link != self._link or not peers.keys() <= self._asked:
            self._wanted.set()
        self._peers, self._link = dict(peers), link
        self._asked &= peers.keys()
        self.paths = {each: mtu for each, mtu in self.paths.items() if each in peers and mtu < link}

    async def run(self) -> None:
        """For ever."""
        everyone = True
        while True:
            self._wanted.clear()
            due = [each for each in self._peers if everyone or each not in self._asked]
            async with asyncio.TaskGroup() as group:
                for address in due:
                    group.create_task(self._look(address))
            everyone = not await happens_within(self._wanted, EVERY, self._clock)

    async def _look(self, address: str) -> None:
        async with self._slots:
            link = self._link
            found = await self._measure(address, link)
        if link != self._link or address not in self._peers:  # meanwhile
            return
        self._asked.add(address)
        if not found or self.paths.get(address, link) == found:
            return
        if found < link:
            self.paths[address] = found
            said = "the path to %s (%s) takes packets of %d bytes, the link here %d: the routes to its pods say so"
            logger.warning(said, self._peers[address], address, found, link)
        else:
            del self.paths[address]
            logger.info("the path to %s (%s) takes packets of %d bytes again", self._peers[address], address, found)
        self._changed()

    async def _measure(self, address: str, link: int) -> int:
        """The largest size that comes back; 0 where not even the least does."""
        least = LEAST[6 if ":" in address else 4]
        high = link
        while (told := await self._comes(address, high)) != high:
            if not least <= told < high:
                break
            high = told  # as a router says
        else:
            return high
        high = min(high + 1, link)  # what a router says may get lost on its way, too
        if await self._comes(address, least) != least:
            return 0
        low = least
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if await self._comes(address, middle) == middle else (low, middle)
        wide = await self._comes(address, link) == link  # what was lost before was lost for another reason
        return link if wide else low

    async def _comes(self, address: str, size: int) -> int:
        """`size` if it came back; else what a router says that it takes, or 0."""
        for _ in range(TRIES):
            reply = await self._echo.ask(address, size, PATIENCE)
            if reply.came:
                return size
            if reply.mtu:
                return reply.mtu
        return 0
