"""What rules counted, over all the times that they were made anew: a rule's own count begins at nought each time. Pure.

Fed by dataplane/iptables/apply at each look, which is how often the kernel is asked.
"""

from collections.abc import Mapping


class Counter:
    """Packets that some rules met in all."""

    def __init__(self) -> None:
        self.total = 0
        self._last: Mapping[str, int] = {}

    def look(self, met: Mapping[str, int]) -> None:
        """`met`: the rules that there are, and the packets that each has met since it was made."""
        for rule, count in met.items():
            before = self._last.get(rule, 0)
            self.total += count - before if count >= before else count
        self._last = met
