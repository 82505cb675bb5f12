"""Whether the machine's own firewall lets packets through that are on their way: where it does not, it is said by name.

Docker sets the policy of iptables' chain FORWARD to DROP, and then pods reach no other node whatever the routes say.
Looks and changes nothing: what a machine forwards is its owner's decision. Called by app/agent_network.py.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Iterable

from clew.base.addresses import Family
from clew.base.clock import Clock
from clew.kernel.errors import KernelError
from clew.kernel.iptables import Iptables

logger = logging.getLogger(__name__)

EVERY = 600.0  # seconds between two looks
FAMILIES: tuple[tuple[Family, str], ...] = ((4, "iptables"), (6, "ip6tables"))
_CLOSED = re.compile(r"^:FORWARD DROP ", re.MULTILINE)


async def watch(iptables: Iptables, ranges: Callable[[], Iterable[str]], clock: Clock) -> None:
    """For ever. `ranges` are those of this node's pods by now."""
    said: frozenset[str] = frozenset()
    while True:
        found = frozenset(await asyncio.to_thread(closed, iptables, tuple(ranges())))
        for text in sorted(found - said):
            logger.warning("%s", text)
        said = found
        await clock.sleep(EVERY)


def closed(iptables: Iptables, ranges: Collection[str]) -> list[str]:
    """A sentence for each firewall that drops pods' packets and has no rule for their ranges. Blocking."""
    found = []
    for kind in iptables.kinds():
        for family, program in FAMILIES:
            here = [cidr for cidr in ranges if (":" in cidr) == (family == 6)]
            try:
                text = kind.save(family, "filter") if here else ""
            except KernelError as refusal:
                logger.warning("cannot see whether %s lets pods' packets through: %s", program, refusal)
                continue
            if _CLOSED.search(text) and not all(cidr in text for cidr in here):
                found.append(
                    f"{program}: the policy of chain FORWARD is DROP, so pods reach no other node: let it accept"
                    f" packets from and to {', '.join(here)}, or all of them ({program} -P FORWARD ACCEPT)"
                )
    return found
