"""How many replicas each ReplicaSet of a Deployment gets next. Pure arithmetic.

The rules are kube-controller-manager's. Held for every step: scaling up never asks for more than `replicas + surge`
pods, scaling down never leaves fewer than `replicas - unavailable` available ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clew.api.objects import dig
from clew.base.value import Value


class Replicas(Value):
    """One ReplicaSet as a rollout sees it, oldest first in every sequence here."""

    name: str
    wanted: int  # spec.replicas
    available: int  # status.availableReplicas
    max_before: int = 0  # wanted of the Deployment plus surge when it was last scaled; 0 unknown


class Limits(Value):
    """A Deployment's own numbers, percentages resolved."""

    wanted: int
    surge: int
    unavailable: int

    @property
    def most(self) -> int:
        return self.wanted + self.surge

    @property
    def least_available(self) -> int:
        return self.wanted - self.unavailable


Sizes = dict[str, int]  # new spec.replicas by name; only what changes


def limits(deployment: Mapping[str, Any]) -> Limits:
    """Surge rounds up and unavailable down; if both come to nothing, one may be unavailable."""
    count = dig(deployment, "spec", "replicas")
    wanted = 1 if count is None else int(count)
    if dig(deployment, "spec", "strategy", "type") == "Recreate":
        return Limits(wanted, 0, 0)
    rolling = dig(deployment, "spec", "strategy", "rollingUpdate") or {}
    surge = scaled(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(wanted, surge, min(unavailable, wanted))


def scaled(value: int | str | None, total: int, *, up: bool) -> int:
    """An IntOrString: a number, or a percentage of `total` rounded up or down; nothing is 0."""
    if value is None:
        return 0
    if isinstance(value, str) and value.endswith("%"):
        part = total * int(value[:-1])
        return -(-part // 100) if up else part // 100
    return int(value)


def new_size(new: Replicas, old: Iterable[Replicas], limit: Limits) -> int:
    """What the newest set of a rolling update gets: all that surge leaves room for, or down to what is wanted."""
    if new.wanted >= limit.wanted:
        return limit.wanted
    room = limit.most - new.wanted - sum(each.wanted for each in old)
    return new.wanted + max(0, min(room, limit.wanted - new.wanted))


def old_sizes(new: Replicas, old: Sequence[Replicas], limit: Limits) -> Sizes:
    """What the older sets are reduced to: first what is not available anyway, then as far as availability permits."""
    total = new.wanted + sum(each.wanted for each in old)
    spare = total - limit.least_available - max(0, new.wanted - new.available)
    if spare <= 0:
        return {}
    sizes = {each.name: each.wanted for each in old}
    for each in old:
        cut = min(spare, max(0, each.wanted - each.available))
        sizes[each.name] -= cut
        spare -= cut
    # Not only asked for but there: only what is available beyond the least may be taken from what is available.
    available = new.available + sum(min(each.available, sizes[each.name]) for each in old)
    spare = min(spare, available - limit.least_available)
    for each in old:
        cut = min(max(0, spare), sizes[each.name])
        sizes[each.name] -= cut
        spare -= cut
    return {each.name: sizes[each.name] for each in old if sizes[each.name] != each.wanted}


def proportional(sets: Sequence[Replicas], limit: Limits, replicas_before: int) -> Sizes:
    """Scaling in the middle of a rollout: every set with replicas changes in proportion (oldest first in `sets`).

    `replicas_before` is the Deployment's status.replicas, for sets without the annotation of what they were.
    """
    active = [each for each in sets if each.wanted > 0]
    allowed = limit.most if limit.wanted > 0 else 0
    add = allowed - sum(each.wanted for each in active)
    if add == 0 or not active:
        return {}
    newest_first = list(reversed(active))
    order = (
        sorted(newest_first, key=lambda each: -each.wanted)
        if add > 0
        else sorted(active, key=lambda each: -each.wanted)
    )
    sizes: Sizes = {}
    added = 0
    for each in order:
        part = _part(each, limit, add - added, replicas_before)
        sizes[each.name] = each.wanted + part
        added += part
    rest = add - added  # by rounding, or because what a set remembers is old: the largest takes it, as far as it can
    for each in order:
        size = max(0, sizes[each.name] + rest)
        rest -= size - sizes[each.name]
        sizes[each.name] = size
    return {each.name: sizes[each.name] for each in active if sizes[each.name] != each.wanted}


def _part(each: Replicas, limit: Limits, allowed: int, replicas_before: int) -> int:
    """A set's share of what is to be added (or, negative, taken), never more than is still to be."""
    if limit.wanted == 0:
        share = -each.wanted
    else:
        before = each.max_before or replicas_before
        share = round(each.wanted * limit.most / before) - each.wanted if before else 0
    return max(0, min(share, allowed)) if allowed > 0 else min(0, max(share, allowed))
