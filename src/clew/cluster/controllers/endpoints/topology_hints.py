"""Hints for services that ask by `service.kubernetes.io/topology-mode: Auto`: which endpoint is for which zone.

Zones get endpoints in proportion to the CPU of their ready nodes. Where that cannot be done without giving an endpoint
a fifth more than its share, or not enough is known, there are no hints at all, and the reason is told. Pure.
Source: KEP-2433; k8s.io/endpointslice topologycache, whose sentences these are.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import ceil
from typing import Any

from clew.api import quantity
from clew.api.conditions import condition
from clew.api.objects import Object, annotations, dig, labels
from clew.cluster.controllers.endpoints.services import ZONE

MODE, FORMER_MODE = "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"
CONTROL_PLANES = {"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}
OVERLOAD = Fraction(1, 5)
ENABLED, DISABLED = "Topology Aware Hints has been enabled", "Topology Aware Hints has been disabled"
NODES_UNKNOWN = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
ONE_ZONE = "Nodes only ready in one zone"
TOO_FEW = "Insufficient number of endpoints"
OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
NO_ZONE = "One or more endpoints do not have a zone specified"
HALF = Fraction(1, 2)


def asks(service: Mapping[str, Any]) -> bool:
    said = annotations(service)
    return said.get(FORMER_MODE, said.get(MODE)) in {"Auto", "auto"}


def bearing(node: Object | None) -> tuple[object, ...]:
    """All of a node that shares are made of."""
    found = node or {}
    return labels(found).get(ZONE), is_counted(found), dig(found, "status", "allocatable", "cpu")


def is_counted(node: Mapping[str, Any]) -> bool:
    """Whether a node takes part: it is ready, and pods are meant to run there."""
    ready = (condition(node, "Ready") or {}).get("status") == "True"
    return ready and not CONTROL_PLANES & labels(node).keys()


def shares(nodes: Iterable[Mapping[str, Any]]) -> Mapping[str, Fraction]:
    """Of the CPU, by zone; nothing where a node that counts does not say its zone or its CPU."""
    found: dict[str, Fraction] = {}
    for node in nodes:
        if is_counted(node):
            zone, cpu = labels(node).get(ZONE), Fraction(quantity.parse(dig(node, "status", "allocatable", "cpu") or 0))
            if not zone or not cpu:
                return {}
            found[zone] = found.get(zone, Fraction()) + cpu
    whole = sum(found.values())
    return {zone: cpu / whole for zone, cpu in sorted(found.items())}


def hint(endpoints: Sequence[Object], by_zone: Mapping[str, Fraction]) -> str:
    """Put hints on the endpoints of one family that are ready; why there are none, or ""."""
    ready = [each for each in endpoints if each["conditions"]["ready"]]
    zones, refusal = allot([each.get("zone", "") for each in ready], by_zone)
    for each, zone in zip(ready, zones, strict=not refusal):
        each["hints"] = {"forZones": [{"name": zone}]}
    return refusal


def allot(zones: Sequence[str], by_zone: Mapping[str, Fraction]) -> tuple[list[str], str]:
    """For each endpoint, given where it is, the zone that it is for; or none, and why."""
    count = len(zones)
    refusal = _refusal(zones, by_zone)
    if refusal:
        return [], refusal
    wanted = {zone: max(share * count, Fraction(_least(share, count))) for zone, share in by_zone.items()}
    giving, taking = _moves(wanted, Counter(zones))
    found = []
    for zone in zones:
        to = zone
        if giving[zone] and taking.total():
            to = next(each for each in sorted(taking) if taking[each])
            giving[zone] -= 1
            taking[to] -= 1
        found.append(to)
    return found, ""


def _refusal(zones: Sequence[str], by_zone: Mapping[str, Fraction]) -> str:
    counts = f"({len(zones)} endpoints, {len(by_zone)} zones)"
    if not by_zone:
        return NODES_UNKNOWN
    if len(by_zone) == 1:
        return ONE_ZONE
    if len(by_zone) > len(zones):
        return f"{TOO_FEW} {counts}"
    if sum(_least(share, len(zones)) for share in by_zone.values()) > len(zones):
        return f"{OVERLOADED} {counts}"
    return "" if all(zones) else NO_ZONE


def _least(share: Fraction, count: int) -> int:
    """Endpoints that a zone needs so that none bears over a fifth more than its share."""
    return ceil(share * count / (1 + OVERLOAD))


def _moves(wanted: Mapping[str, Fraction], have: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """How many endpoints zones give to others, and take: whole ones, while both sides are half an endpoint off."""
    over = {zone: have[zone] - target for zone, target in wanted.items()}
    giving: Counter[str] = Counter()
    taking: Counter[str] = Counter()
    while True:
        most, least = max(over, key=lambda zone: over[zone]), min(over, key=lambda zone: over[zone])
        if min(over[most], -over[least]) < HALF or max(over[most], -over[least]) < 1:
            return giving, taking
        giving[most] += 1
        taking[least] += 1
        over[most] -= 1
        over[least] += 1
