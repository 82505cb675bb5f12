"""Whom to dial next: round robin over a way's backends, and the one that a sticky client keeps. Pure but for its state.

As kube-proxy's userspace proxier: the order is shuffled when a backend comes or goes, so that many proxies do not begin
with the same one; affinity counts from a client's last connection, and is given up where its backend does not answer.
"""

from collections.abc import Callable, Sequence

from clew.dataplane.userspace.objects import At, Way

Shuffle = Callable[[list[At]], None]
FORGET_EVERY = 1000  # choices between looks for clients that have been quiet for too long


class Choice:
    """One service port's memory; ways of both policies share it, so a client keeps its backend on every address."""

    def __init__(self, shuffle: Shuffle) -> None:
        self._shuffle = shuffle
        self._orders: dict[str, list[At]] = {}
        self._next: dict[str, int] = {}
        self._kept: dict[str, tuple[At, float]] = {}
        self._affinity = 0
        self._choices = 0

    def learn(self, policy: str, way: Way) -> None:
        """These are the backends from now on."""
        order = self._orders.get(policy, [])
        if set(order) != set(way.backends):
            order = list(way.backends)
            self._shuffle(order)
            self._orders[policy], self._next[policy] = order, 0
        self._affinity = way.affinity
        everyone = {at for each in self._orders.values() for at in each}
        self._kept = {client: kept for client, kept in self._kept.items() if way.affinity and kept[0] in everyone}

    def forget(self, policy: str) -> None:
        """Of a way that is no more."""
        self._orders.pop(policy, None)
        self._next.pop(policy, None)

    def __bool__(self) -> bool:
        """Whether any way is left."""
        return bool(self._orders)

    def candidates(self, policy: str, client: str, now: float) -> Sequence[At]:
        """Everybody who may be dialled, in the order in which to try; empty where nobody is left."""
        order = self._orders.get(policy, [])
        if not order:
            return ()
        kept = self._kept.get(client) if self._affinity else None
        if kept is not None and now - kept[1] <= self._affinity and kept[0] in order:
            return (kept[0], *(at for at in order if at != kept[0]))
        first = self._next[policy]
        self._next[policy] = (first + 1) % len(order)
        return (*order[first:], *order[:first])

    def chosen(self, client: str, at: At, now: float) -> None:
        """Note who answered."""
        if not self._affinity:
            return
        self._kept[client] = (at, now)
        self._choices += 1
        if self._choices % FORGET_EVERY == 0:
            quiet = [each for each, (_, last) in self._kept.items() if now - last > self._affinity]
            for each in quiet:
                del self._kept[each]
