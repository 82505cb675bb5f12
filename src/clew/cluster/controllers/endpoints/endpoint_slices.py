"""The EndpointSlices that a Service with a selector should have, and the writes that lead there. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clew.api.kinds import ENDPOINT_SLICE, SERVICE
from clew.api.objects import Object, dig, is_deleting, labels, name_of, namespace_of
from clew.base.addresses import family_of
from clew.base.value import Value
from clew.cluster.controllers import pods as podlike
from clew.cluster.controllers.endpoints import topology_hints
from clew.cluster.controllers.endpoints.packing import Changes, Frame, Group, pack
from clew.cluster.controllers.endpoints.services import (
    HEADLESS,
    MANAGED_BY,
    SERVICE_NAME,
    TRIGGER_TIME,
    ZONE,
    Port,
    addresses,
    hostname,
    is_headless,
    ports,
    publishes,
    target,
)
from clew.cluster.controllers.ownership import controller_reference

MANAGER = "endpointslice-controller.k8s.io"
_CLOSE = frozenset({"PreferClose", "PreferSameZone", "PreferSameNode"})

Nodes = Mapping[str, Mapping[str, Any]]


class Plan(Value):
    """What to write; and of a service that asks for hints by zone, by address type why it has none ("": it has)."""

    changes: Changes
    hints: Mapping[str, str]
    is_waiting: bool = False  # for Nodes that are not known (any more): their pods are left out


def slices(
    service: Object, pods: Iterable[Object], nodes: Nodes, existing: Sequence[Object], trigger: str = ""
) -> Plan:
    """`existing` are the slices that this controller manages for the service, `nodes` by name.

    `trigger` is when the change happened (metav1.Time), noted on every slice that is written.
    """
    alive = [pod for pod in pods if not podlike.is_finished(pod) and addresses(pod)]
    chosen = [pod for pod in alive if publishes(service) or podlike.node_of(pod) in nodes]
    by_family = {family: _groups(service, chosen, nodes, family) for family in families(service)}
    hints: dict[str, str] = {}
    if topology_hints.asks(service):
        shares = topology_hints.shares(nodes.values())
        for family, groups in by_family.items():
            hints[family] = topology_hints.hint([each for group in groups for each in group.endpoints], shares)
    changes = pack([group for groups in by_family.values() for group in groups], existing, frame(service, trigger))
    return Plan(changes, hints, len(chosen) < len(alive))


def families(service: Mapping[str, Any]) -> tuple[str, ...]:
    """The address types of the service's slices."""
    given = dig(service, "spec", "ipFamilies")
    if given:
        return tuple(str(family) for family in given)
    address = str(dig(service, "spec", "clusterIP") or "")
    return ("IPv6",) if ":" in address else ("IPv4",)


def _groups(service: Object, pods: Iterable[Object], nodes: Nodes, family: str) -> list[Group]:
    by_ports: dict[tuple[Port, ...], list[Object]] = {}
    for pod in pods:
        address = next((ip for ip in addresses(pod) if f"IPv{family_of(ip)}" == family), None)
        if address is not None:
            by_ports.setdefault(ports(service, pod), []).append(endpoint(service, pod, address, nodes))
    if not by_ports:
        return [Group(family, [], [])]
    return [
        Group(family, [port.as_object() for port in found], endpoints) for found, endpoints in sorted(by_ports.items())
    ]


def endpoint(service: Object, pod: Object, address: str, nodes: Nodes) -> Object:
    """One pod's endpoint."""
    serving, terminating = podlike.is_ready(pod), is_deleting(pod)
    ready = publishes(service) or (serving and not terminating)
    made: Object = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": target(pod),
    }
    node = podlike.node_of(pod)
    if node:
        made["nodeName"] = node
    zone = labels(nodes.get(node) or {}).get(ZONE)
    if zone:
        made["zone"] = zone
    if name := hostname(service, pod):
        made["hostname"] = name
    if not topology_hints.asks(service) and (hints := _hints(service, node, zone)):
        made["hints"] = hints
    return made


def _hints(service: Object, node: str, zone: str | None) -> Object:
    """Whom an endpoint is meant for, when the service asks that traffic stay near."""
    distribution = dig(service, "spec", "trafficDistribution")
    found: Object = {}
    if distribution in _CLOSE and zone:
        found["forZones"] = [{"name": zone}]
    if distribution == "PreferSameNode" and node:
        found["forNodes"] = [{"name": node}]
    return found


def frame(service: Object, trigger: str) -> Frame:
    own = {name: text for name, text in labels(service).items() if name not in {HEADLESS, SERVICE_NAME, MANAGED_BY}}
    own |= {SERVICE_NAME: name_of(service), MANAGED_BY: MANAGER}
    if is_headless(service):
        own[HEADLESS] = ""
    like = {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.kind,
        "metadata": {
            "generateName": f"{name_of(service)}-",
            "namespace": namespace_of(service),
            "ownerReferences": [controller_reference(SERVICE, service)],
        },
    }
    return Frame(like, own, {TRIGGER_TIME: trigger} if trigger else {}, frozenset({TRIGGER_TIME}))
