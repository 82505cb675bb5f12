"""The v1 Endpoints of a Service with a selector. Pure; deprecated since 1.33 and still what `kubectl get ep` shows."""

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

from clew.api.kinds import ENDPOINTS
from clew.api.objects import Object, annotations, dig, is_deleting, labels, metadata, name_of, namespace_of
from clew.base.addresses import address, family_of
from clew.cluster.controllers import pods as podlike
from clew.cluster.controllers.endpoints.endpoint_slices import families
from clew.cluster.controllers.endpoints.services import (
    HEADLESS,
    TRIGGER_TIME,
    Port,
    addresses,
    hostname,
    is_headless,
    ports,
    publishes,
    target,
)  # fmt: skip

MOST = 1000  # addresses an object
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"


def endpoints(service: Object, pods: Iterable[Object], existing: Object | None, trigger: str) -> Object | None:
    """The object to write, or None when `existing` is right."""
    found, truncated = _capped(subsets(service, pods))
    meta: dict[str, Any] = dict(metadata(existing or {})) or {
        "name": name_of(service), "namespace": namespace_of(service),
    }  # fmt: skip
    meta["labels"] = _labels(service)
    notes = {k: v for k, v in annotations(existing or {}).items() if k not in {TRIGGER_TIME, OVER_CAPACITY}}
    if truncated:
        notes[OVER_CAPACITY] = "truncated"
    same = existing is not None and (existing.get("subsets") or []) == found
    if same and existing is not None and labels(existing) == meta["labels"]:
        had = annotations(existing).get(OVER_CAPACITY) == "truncated"
        if had == truncated:
            return None
    if trigger:
        notes[TRIGGER_TIME] = trigger
    if notes:
        meta["annotations"] = notes
    else:
        meta.pop("annotations", None)
    made = {"apiVersion": ENDPOINTS.api_version, "kind": ENDPOINTS.kind, "metadata": meta}
    return made | {"subsets": found} if found else made


def _labels(service: Object) -> dict[str, str]:
    own = {name: text for name, text in labels(service).items() if name != HEADLESS} | {MANAGED_BY: MANAGER}
    return own | {HEADLESS: ""} if is_headless(service) else own


def subsets(service: Object, pods: Iterable[Object]) -> list[Object]:
    """Pods with the same ports share a subset; ready and other addresses apart, sorted."""
    family = families(service)[0]
    publish = publishes(service)
    groups: dict[tuple[Port, ...], tuple[list[Object], list[Object]]] = {}
    headless_without_ports = is_headless(service) and not dig(service, "spec", "ports")
    for pod in pods:
        ip = next((ip for ip in addresses(pod) if f"IPv{family_of(ip)}" == family), None)
        if ip is None or podlike.is_finished(pod) or (is_deleting(pod) and not publish):
            continue
        found = ports(service, pod)
        if not found and not headless_without_ports:
            continue
        ready, others = groups.setdefault(found, ([], []))
        if publish or podlike.is_ready(pod):
            ready.append(_address(service, pod, ip))
        else:
            others.append(_address(service, pod, ip))
    return [_subset(found, *addressed) for found, addressed in sorted(groups.items())]


def _address(service: Object, pod: Object, ip: str) -> Object:
    made: Object = {"ip": ip, "targetRef": target(pod)}
    if node := podlike.node_of(pod):
        made["nodeName"] = node
    if name := hostname(service, pod):
        made["hostname"] = name
    return made


def _subset(found: tuple[Port, ...], ready: list[Object], others: list[Object]) -> Object:
    made: Object = {}
    if ready:
        made["addresses"] = sorted(ready, key=_order)
    if others:
        made["notReadyAddresses"] = sorted(others, key=_order)
    if found:
        made["ports"] = [_bare(port) for port in found]
    return made


def _bare(port: Port) -> Object:
    """v1 Endpoints leave out the empty name of a service's only port."""
    return {name: value for name, value in port.as_object().items() if value != ""}


def _order(each: Mapping[str, Any]) -> int:
    return int(address(each["ip"]))


def _capped(found: list[Object]) -> tuple[list[Object], bool]:
    """At most MOST addresses, the ready ones first; each subset gives up in proportion to what it has."""
    kept, room = [dict(each) for each in found], MOST
    for field in ("addresses", "notReadyAddresses"):
        total = sum(len(each.get(field, ())) for each in found)
        share, left = min(room, total), min(room, total)
        for each in kept:
            if field in each:
                own = len(each[field])
                each[field] = each[field][: min(left, ceil(own * share / total))]
                left -= len(each[field])
                if not each[field]:
                    del each[field]
        room -= share
    return [each for each in kept if "addresses" in each or "notReadyAddresses" in each], kept != found
