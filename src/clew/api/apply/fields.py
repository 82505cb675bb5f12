"""Sets of fields in the form of managedFields (FieldsV1), and the few operations that ownership needs.

A set is a nested dict: `{"f:spec": {"f:replicas": {}}}`. A key is `f:FIELD`, `k:{"key":"value"}` for an item of a list
that is a map, `v:VALUE` for an item of a set. An empty dict is a member; a member that has members below it holds `.`.
A path is the tuple of keys. Source: KEP-555; sigs.k8s.io/structured-merge-diff, fieldpath.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

FieldSet = dict[str, Any]
Path = tuple[str, ...]
_SELF = "."


def paths(fields: FieldSet, above: Path = ()) -> Iterator[Path]:
    """Every member of a set."""
    for key, below in fields.items():
        if key == _SELF:
            yield above
        elif below:
            yield from paths(below, (*above, key))
        else:
            yield (*above, key)


def contains(fields: FieldSet, path: Path) -> bool:
    for key in path:
        below = fields.get(key)
        if below is None:
            return False
        fields = below
    return not fields or _SELF in fields


def from_paths(members: Iterable[Path]) -> FieldSet:
    """The set that holds exactly these paths."""
    made: FieldSet = {}
    for path in members:
        add(made, path)
    return made


def add(fields: FieldSet, path: Path) -> None:
    """Put a path into a set, in place."""
    *way, last = path
    for key in way:
        below = fields.get(key)
        if below is None:
            below = fields[key] = {}
        elif not below:
            below[_SELF] = {}  # it was a member by being empty and stays one
        fields = below
    below = fields.get(last)
    if below is None:
        fields[last] = {}
    elif below:
        below[_SELF] = {}


def discard(fields: FieldSet, path: Path) -> None:
    """Take a path out of a set, in place; what lies below it stays."""
    key, *rest = path
    below = fields.get(key)
    if below is None:
        return
    if rest:
        was_member = not below
        discard(below, tuple(rest))
        if not below and not was_member:
            del fields[key]
            return
    elif below:
        below.pop(_SELF, None)
    else:
        del fields[key]
    if below.keys() == {_SELF}:
        below.clear()


def union(fields: FieldSet, other: FieldSet) -> FieldSet:
    """A new set with the members of both."""
    made = copied(fields)
    for path in paths(other):
        add(made, path)
    return made


def copied(fields: FieldSet) -> FieldSet:
    return {key: copied(below) for key, below in fields.items()}


def in_words(path: Path) -> str:
    """`.spec.containers[name="web"].image`, as conflicts are told."""
    return "".join(_word(key) for key in path)


def _word(key: str) -> str:
    if key.startswith("f:"):
        return f".{key[2:]}"
    if key.startswith("k:"):
        pairs = msgspec.json.decode(key[2:])
        return "[" + ",".join(f"{name}={text(value)}" for name, value in sorted(pairs.items())) + "]"
    return f"[={key[2:]}]"


def text(value: Any) -> str:
    """A value as FieldsV1 writes it."""
    return msgspec.json.encode(value, order="sorted").decode()
