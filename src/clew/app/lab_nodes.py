"""The nodes of a lab as its file gives them: a number, names, or entries with what a kubelet registers with."""

import re
from collections.abc import Sequence

import msgspec

from clew.api.selectors import valid_label_key, valid_label_value
from clew.app.lab_spec import NodeSpec, Taint
from clew.base.errors import UserError
from clew.cluster.fabric import MOST_NODES, RESERVED

ZONE = "topology.kubernetes.io/zone"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_MOST_PODS = 250
_KEEPS_AWAY = {"NoSchedule", "NoExecute"}


class NodeEntry(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """One item of `nodes:`; `zone` is short for the label topology.kubernetes.io/zone."""

    name: str
    subnet: str = ""
    zone: str = ""
    labels: dict[str, str] = {}
    taints: list[Taint] = []
    max_pods: int = 110


def nodes(given: int | Sequence[str | NodeEntry], subnets: Sequence[str]) -> tuple[NodeSpec, ...]:
    """Checked nodes; one without a subnet is in the first. UserError names the field."""
    if isinstance(given, int):
        if not 1 <= given <= MOST_NODES:
            raise UserError(f"nodes: {given} is out of range", f"use 1 to {MOST_NODES}")
        given = [f"node-{number + 1}" for number in range(given)]
    if not 1 <= len(given) <= MOST_NODES:
        raise UserError(f"nodes: {len(given)} entries", f"use 1 to {MOST_NODES}")
    entries = [NodeEntry(each) if isinstance(each, str) else each for each in given]
    names = [each.name for each in entries]
    made = []
    for at, entry in enumerate(entries):
        if entry.name in names[:at]:
            raise UserError(f"nodes[{at}]: {entry.name!r} is there twice", "give each node a name of its own")
        made.append(_node(f"nodes[{at}]", entry, subnets))
    if all(any(taint.effect in _KEEPS_AWAY for taint in each.taints) for each in made):
        raise UserError("nodes: every node's taints keep the DNS pods away", "leave one node without NoSchedule")
    return tuple(made)


def _node(where: str, entry: NodeEntry, subnets: Sequence[str]) -> NodeSpec:
    """Names become host names and folders: nothing but a label may pass."""
    if not _LABEL.fullmatch(entry.name) or entry.name in RESERVED:
        remedy = f"use lower case letters, digits and hyphens, and none of {' '.join(sorted(RESERVED))}"
        raise UserError(f"{where}: {entry.name!r} is no node name", remedy)
    if entry.subnet and entry.subnet not in subnets:
        raise UserError(f"{where}.subnet: {entry.subnet!r} is not there", f"subnets: {' '.join(subnets)}")
    if not 1 <= entry.max_pods <= _MOST_PODS:
        raise UserError(f"{where}.maxPods: {entry.max_pods} is out of range", f"use 1 to {_MOST_PODS}")
    labels = {**({ZONE: entry.zone} if entry.zone else {}), **entry.labels}
    for key, value in labels.items():
        _check_label(f"{where}.labels", key, value)
    for at, taint in enumerate(entry.taints):
        _check_label(f"{where}.taints[{at}]", taint.key, taint.value)
    return NodeSpec(entry.name, entry.subnet or subnets[0], tuple(labels.items()), tuple(entry.taints), entry.max_pods)


def _check_label(where: str, key: str, value: str) -> None:
    if not valid_label_key(key):
        raise UserError(f"{where}: {key!r} is no key", "write NAME or PREFIX/NAME: letters, digits, '-', '_', '.'")
    if not valid_label_value(value):
        raise UserError(f"{where}: {key}: {value!r} is no value", "use at most 63 letters, digits, '-', '_', '.'")
