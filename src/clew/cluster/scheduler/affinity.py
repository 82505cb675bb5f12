"""Pods that want to be near others, or far from them, or spread evenly. Pure.

Costs nothing for pods without such wishes; for others it looks at every pod once. Rules: the API reference of
PodAffinityTerm and TopologySpreadConstraint, and kube-scheduler's InterPodAffinity and PodTopologySpread plugins.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clew.api.selectors import LabelSelector
from clew.cluster.controllers import node_affinity
from clew.cluster.controllers.nodes.taints import untolerated
from clew.cluster.scheduler.state import ClusterState, Host, Placed

Refusal = str  # the reason as kube-scheduler words it; "" for none
Check = Callable[[Host], Refusal]
Namespaces = Mapping[str, Mapping[str, str]]  # labels by name
Term = Mapping[str, Any]

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
OTHERS_ANTI_AFFINITY = "node(s) didn't satisfy existing pods anti-affinity rules"
SPREAD = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL = f"{SPREAD} (missing required label)"


class Matcher:
    """One affinity term of one pod: which other pods it speaks of."""

    def __init__(self, term: Term, owner: Placed, namespaces: Namespaces) -> None:
        self.key = str(term.get("topologyKey") or "")
        selector = term.get("labelSelector")
        self._selector = LabelSelector.from_object(selector) if selector is not None else None
        self._namespaces: frozenset[str] | None = _namespaces(term, owner, namespaces)

    def matches(self, pod: Placed) -> bool:
        if self._selector is None or (self._namespaces is not None and pod.namespace not in self._namespaces):
            return False
        return self._selector.matches(pod.labels)


def _namespaces(term: Term, owner: Placed, namespaces: Namespaces) -> frozenset[str] | None:
    """Those named and those selected; its own when nothing is said; None for all."""
    named, selector = term.get("namespaces") or (), term.get("namespaceSelector")
    if selector is None:
        return frozenset(named) or frozenset({owner.namespace})
    if not selector:
        return None
    chosen = LabelSelector.from_object(selector)
    return frozenset(named) | {name for name, own in namespaces.items() if chosen.matches(own)}


def filters(pod: Placed, state: ClusterState, namespaces: Namespaces) -> list[Check]:
    """The checks that the pod's and others' required terms amount to, in kube-scheduler's order."""
    constraints = pod.pod.get("spec", {}).get("topologySpreadConstraints") or ()
    hard = (each for each in constraints if each.get("whenUnsatisfiable") == "DoNotSchedule")
    found: list[Check] = [_spread(constraint, pod, state) for constraint in hard]
    if check := _near(pod, state, namespaces):
        found.append(check)
    if check := _apart(pod, state, namespaces):
        found.append(check)
    if check := _kept_out(pod, state, namespaces):
        found.append(check)
    return found


def _where(matcher: Matcher, state: ClusterState) -> Counter[str]:
    """How many matching pods there are in each domain of the term's topology."""
    found: Counter[str] = Counter()
    for host in state.hosts.values():
        domain = host.labels.get(matcher.key)
        if domain is not None:
            count = sum(1 for each in host.placed.values() if matcher.matches(each))
            if count:
                found[domain] += count
    return found


def _near(pod: Placed, state: ClusterState, namespaces: Namespaces) -> Check | None:
    matchers = [Matcher(term, pod, namespaces) for term in pod.terms("podAffinity", "required")]
    if not matchers:
        return None
    domains = [(matcher, _where(matcher, state)) for matcher in matchers]
    # The first of a group that wants to be together may go anywhere.
    first = not any(where for _, where in domains) and all(matcher.matches(pod) for matcher in matchers)

    def check(host: Host) -> Refusal:
        for matcher, where in domains:
            domain = host.labels.get(matcher.key)
            if domain is None or (domain not in where and not first):
                return AFFINITY
        return ""

    return check


def _apart(pod: Placed, state: ClusterState, namespaces: Namespaces) -> Check | None:
    matchers = [Matcher(term, pod, namespaces) for term in pod.terms("podAntiAffinity", "required")]
    taken = [(matcher.key, _where(matcher, state)) for matcher in matchers]
    if not any(where for _, where in taken):
        return None
    return lambda host: ANTI_AFFINITY if any(host.labels.get(key) in where for key, where in taken) else ""


def _kept_out(pod: Placed, state: ClusterState, namespaces: Namespaces) -> Check | None:
    """What runs already may not want this one near."""
    forbidden: set[tuple[str, str]] = set()
    for other in state.repelling.values():
        host = state.hosts.get(state.node_of(other.uid))
        if host is None:
            continue
        for term in other.terms("podAntiAffinity", "required"):
            matcher = Matcher(term, other, namespaces)
            domain = host.labels.get(matcher.key)
            if domain is not None and matcher.matches(pod):
                forbidden.add((matcher.key, domain))
    if not forbidden:
        return None

    def check(host: Host) -> Refusal:
        held = any(host.labels.get(key) == domain for key, domain in forbidden)
        return OTHERS_ANTI_AFFINITY if held else ""

    return check


def _spread(constraint: Term, pod: Placed, state: ClusterState) -> Check:
    key = str(constraint.get("topologyKey") or "")
    counts = spread_counts(constraint, pod, state)
    lowest = min(counts.values(), default=0)
    if len(counts) < int(constraint.get("minDomains") or 1):
        lowest = 0
    itself = int(_selects(constraint, pod)(pod))
    most = int(constraint.get("maxSkew") or 1)

    def check(host: Host) -> Refusal:
        domain = host.labels.get(key)
        if domain is None:
            return SPREAD_LABEL
        return SPREAD if counts.get(domain, 0) + itself - lowest > most else ""

    return check


def spread_counts(constraint: Term, pod: Placed, state: ClusterState) -> dict[str, int]:
    """Matching pods in each domain where the pod could run at all."""
    key = str(constraint.get("topologyKey") or "")
    spec = pod.pod.get("spec") or {}
    selects = _selects(constraint, pod)
    counts: dict[str, int] = {}
    for host in state.hosts.values():
        domain = host.labels.get(key)
        if domain is None:
            continue
        if (constraint.get("nodeAffinityPolicy") or "Honor") == "Honor" and not node_affinity.matches(spec, host.node):
            continue
        if constraint.get("nodeTaintsPolicy") == "Honor" and untolerated(spec, host.taints, DRIVING) is not None:
            continue
        counts[domain] = counts.get(domain, 0) + sum(1 for each in host.placed.values() if selects(each))
    return counts


DRIVING = frozenset({"NoSchedule", "NoExecute"})


def _selects(constraint: Term, pod: Placed) -> Callable[[Placed], bool]:
    selector = constraint.get("labelSelector")
    chosen = LabelSelector.from_object(selector) if selector is not None else None
    same = {key: pod.labels[key] for key in constraint.get("matchLabelKeys") or () if key in pod.labels}

    def selects(other: Placed) -> bool:
        if chosen is None or other.namespace != pod.namespace or other.leaving:
            return False
        return chosen.matches(other.labels) and same.items() <= other.labels.items()

    return selects


def preferences(pod: Placed, state: ClusterState, namespaces: Namespaces) -> Callable[[Host], float] | None:
    """Points for a host by the pod's preferred terms and its soft spread constraints; None when it has none."""
    wishes: list[tuple[str, Mapping[str, int], float]] = []
    for kind, sign in (("podAffinity", 1.0), ("podAntiAffinity", -1.0)):
        for each in pod.terms(kind, "preferred"):
            matcher = Matcher(each.get("podAffinityTerm") or {}, pod, namespaces)
            wishes.append((matcher.key, _where(matcher, state), sign * float(each.get("weight") or 0)))
    for constraint in _soft(pod):
        counts = spread_counts(constraint, pod, state)
        wishes.append((str(constraint.get("topologyKey") or ""), counts, -10.0))
    if not wishes:
        return None

    def points(host: Host) -> float:
        return sum(where.get(host.labels.get(key, ""), 0) * value for key, where, value in wishes)

    return points


def _soft(pod: Placed) -> Iterable[Term]:
    found = pod.pod.get("spec", {}).get("topologySpreadConstraints") or ()
    return (each for each in found if each.get("whenUnsatisfiable") == "ScheduleAnyway")


def minds_others(pod: Placed) -> bool:
    """Whether other pods' places matter to this one: then their changes may let it in."""
    spec = pod.pod.get("spec") or {}
    return bool(spec.get("topologySpreadConstraints")) or any(
        True for kind in ("podAffinity", "podAntiAffinity") for _ in pod.terms(kind, "required")
    )
