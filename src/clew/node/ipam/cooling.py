"""Addresses that came free and are nobody's for a while: since when, and when they are free again.

Used by claims.py and vanished.py.
"""

from collections.abc import Callable
from datetime import timedelta

from clew.base.clock import Clock, rfc3339
from clew.compile import blocks
from clew.compile.ipam_rules import Rules
from clew.facts.ipamblock import Block

_NO_TIME = "9"  # after all that clocks say, also another node's that is wrong


class Cooling:
    def __init__(self, clock: Clock, rules: Callable[[], Rules]) -> None:
        self._clock = clock
        self._rules = rules

    def since(self) -> str:
        """What to write beside an address that comes free now; empty where it is free at once."""
        return rfc3339(self._clock.now()) if self._rules().cooldown else ""

    def thawed(self, block: Block) -> Block:
        cooldown = self._rules().cooldown
        if not block.cooling:
            return block
        return blocks.thawed(block, rfc3339(self._clock.now() - timedelta(seconds=cooldown)) if cooldown else _NO_TIME)
