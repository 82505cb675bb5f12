"""Sets of fields in the FieldsV1 form of managedFields: `f:name`, `k:{"key":…}`, `v:value` and `.` for itself.

A set is a nested dict; an empty dict is a leaf. Source: KEP-555, sigs.k8s.io/structured-merge-diff (fieldpath).
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from clew.api.definitions import Node
from clew.api.objects import Object

FieldSet = dict[str, Any]
Path = tuple[str, ...]
SELF = "."
UNKNOWN = Node({})


def item_key(node: Node, item: Any) -> str:
    """How an item of an associative list is named."""
    if node.list_type == "map" and isinstance(item, dict):
        keys = {key: item.get(key, _default(node, key)) for key in node.list_keys}
        named = {key: value for key, value in keys.items() if value is not None}
        return "k:" + msgspec.json.encode(dict(sorted(named.items()))).decode()
    return "v:" + msgspec.json.encode(item).decode()


def _default(node: Node, key: str) -> Any:
    """Keys may be left out where the API defaults them: a port's protocol is TCP."""
    items = node.items
    child = items.child(key) if items is not None else None
    found = child.definition.get("default") if child is not None else None
    return "TCP" if found is None and key == "protocol" else found


def is_associative(node: Node) -> bool:
    return node.type == "array" and node.list_type in {"map", "set"}


def fields_of(node: Node, obj: Object) -> FieldSet:
    """The fields that an applied object names."""
    made: FieldSet = {}
    for field, value in obj.items():
        child = node.child(field) or UNKNOWN
        made[f"f:{field}"] = _fields(child, value)
    return made


def _fields(node: Node, value: Any) -> FieldSet:
    if isinstance(value, dict) and value and not node.is_atomic:
        return fields_of(node, value)
    if isinstance(value, list) and is_associative(node):
        made: FieldSet = {}
        items = node.items or UNKNOWN
        for item in value:
            inner = fields_of(items, item) if isinstance(item, dict) else {}
            made[item_key(node, item)] = {SELF: {}, **inner} if isinstance(item, dict) else {}
        return made
    return {}


def leaves(fields: FieldSet, path: Path = ()) -> Iterator[Path]:
    """Every path that the set owns."""
    for key, inner in fields.items():
        if key == SELF:
            yield path
        elif inner:
            yield from leaves(inner, (*path, key))
        else:
            yield (*path, key)


def from_paths(paths: Iterator[Path] | set[Path]) -> FieldSet:
    """The set that owns exactly these paths."""
    made: FieldSet = {}
    wanted = set(paths)
    for path in sorted(wanted):
        at = made
        for key in path:
            at = at.setdefault(key, {})
    for path in wanted:
        at = made
        for key in path:
            at = at[key]
        if at:
            at[SELF] = {}
    return made


def step(node: Node, value: Any, key: str) -> tuple[Node, Any, bool]:
    """Follow one element of a path into a value: the place, what is there, whether it is there."""
    if key.startswith("f:"):
        name = key[2:]
        child = node.child(name) or UNKNOWN
        if isinstance(value, dict) and name in value:
            return child, value[name], True
        return child, None, False
    for item in value if isinstance(value, list) else ():
        if item_key(node, item) == key:
            return node.items or UNKNOWN, item, True
    return node.items or UNKNOWN, None, False


def look(node: Node, value: Any, path: Path) -> tuple[Any, bool]:
    """What an object has at a path, and whether it has it."""
    for key in path:
        node, value, there = step(node, value, key)
        if not there:
            return None, False
    return value, True


def remove(node: Node, value: Any, path: Path) -> None:
    """Take away what stands at a path, in place; nothing where it is not."""
    way, last = path[:-1], path[-1]
    for key in way:
        node, value, there = step(node, value, key)
        if not there:
            return
    if last.startswith("f:"):
        if isinstance(value, dict):
            value.pop(last[2:], None)
    elif isinstance(value, list):
        value[:] = [item for item in value if item_key(node, item) != last]


def in_words(path: Path) -> str:
    """`.spec.containers[name="web"].image`, as conflicts are told."""
    text = ""
    for key in path:
        if key.startswith("f:"):
            text += f".{key[2:]}"
        elif key.startswith("k:"):
            pairs = msgspec.json.decode(key[2:])
            inside = ",".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in pairs.items())
            text += f"[{inside}]"
        else:
            text += f"[={key[2:]}]"
    return text
