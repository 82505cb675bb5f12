"""What a pod asks of a node and what a node has, in whole numbers: millicores, bytes, pieces. Pure."""

from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from typing import Any

from clew.api.objects import dig
from clew.api.quantity import QuantityError, parse

Resources = dict[str, int]
CPU, MEMORY, EPHEMERAL, PODS = "cpu", "memory", "ephemeral-storage", "pods"
# What a container without requests counts for when nodes are compared (never when they are filtered), as in
# kube-scheduler: otherwise a node could fill up with such pods unnoticed.
UNSAID = {CPU: 100, MEMORY: 200 << 20}


@lru_cache(maxsize=4096)
def amount(resource: str, text: str) -> int:
    """A quantity in the resource's unit, rounded up; what is no quantity counts as nothing."""
    try:
        number = parse(text)
    except QuantityError:
        return 0
    return ceil(number * 1000) if resource == CPU else ceil(number)


def allocatable(node: Mapping[str, Any]) -> Resources:
    found = dig(node, "status", "allocatable") or dig(node, "status", "capacity") or {}
    return {name: amount(name, str(text)) for name, text in found.items()}


def requests(pod: Mapping[str, Any]) -> Resources:
    """What the pod needs at its peak: its containers together, or an init container beside the sidecars before it."""
    spec = pod.get("spec") or {}
    total: Resources = {}
    for container in spec.get("containers") or ():
        _add(total, _asked(container))
    sidecars: Resources = {}
    peak: Resources = {}
    for container in spec.get("initContainers") or ():
        asked = _asked(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, asked)
            asked = dict(sidecars)
        else:
            _add(asked, sidecars)
        for name, value in asked.items():
            peak[name] = max(peak.get(name, 0), value)
    _add(total, sidecars)
    for name, value in peak.items():
        total[name] = max(total.get(name, 0), value)
    total |= _asked(spec)  # spec.resources: for the pod as a whole (KEP-2837)
    for name, text in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0) + amount(name, str(text))
    return total


def weight(pod: Mapping[str, Any], asked: Mapping[str, int]) -> tuple[int, int]:
    """(millicores, bytes) for comparing nodes."""
    containers = len(dig(pod, "spec", "containers") or ()) or 1
    return asked.get(CPU) or UNSAID[CPU] * containers, asked.get(MEMORY) or UNSAID[MEMORY] * containers


def _asked(container: Mapping[str, Any]) -> Resources:
    found = dig(container, "resources", "requests") or {}
    limits = dig(container, "resources", "limits") or {}
    return {name: amount(name, str(text)) for name, text in {**limits, **found}.items()}


def _add(total: Resources, more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value
