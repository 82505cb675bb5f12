"""Strategic merge patch: a merge patch that knows which lists are maps by a key.

Directives: `$patch: replace|delete|merge`, `$retainKeys`, `$setElementOrder/LIST`, `$deleteFromPrimitiveList/LIST`.
Source: kubernetes/community, contributors/devel/sig-api-machinery/strategic-merge-patch.md.
"""

from typing import Any

from clew.api.definitions import Node, node_for
from clew.api.kinds import Kind
from clew.api.objects import Object, clone
from clew.api.patch.errors import PatchError

_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"
_NOTHING = Node({})


def strategic_merge_patch(kind: Kind, current: Object, patch: Object) -> Object:
    """The patched object; PatchError for a kind without merge keys or a patch that does not fit."""
    root = node_for(kind)
    if root is None:
        raise PatchError(415, f"strategic merge patch is not supported for {kind.kind}")
    return _struct(root, clone(current), patch)


def _stripped(value: Any) -> Any:
    """A value that lands where nothing was: directives and nulls have no meaning there."""
    if isinstance(value, dict):
        return {key: _stripped(item) for key, item in value.items() if not key.startswith("$") and item is not None}
    if isinstance(value, list):
        return [_stripped(item) for item in value if not (isinstance(item, dict) and item.get("$patch") == "delete")]
    return value


def _struct(node: Node, current: Object, patch: Object) -> Object:
    directive = patch.get("$patch")
    if directive == "replace":
        replaced: Object = _stripped(patch)
        return replaced
    if directive == "delete":
        return {}
    if directive not in {None, "merge"}:
        raise PatchError(400, f"unknown patch type found in patch: {directive}")
    if "$retainKeys" in patch:
        current = {key: value for key, value in current.items() if key in patch["$retainKeys"]}
    for field, value in patch.items():
        if field.startswith(_DELETE):
            name = field.removeprefix(_DELETE)
            if isinstance(current.get(name), list):
                current[name] = [item for item in current[name] if item not in value]
        elif field.startswith("$"):
            continue
        elif value is None:
            current.pop(field, None)
        else:
            child = node.child(field) or _NOTHING
            order = patch.get(_ORDER + field)
            current[field] = _value(child, current.get(field), value, order)
    for field, order in patch.items():
        name = field.removeprefix(_ORDER)
        if field.startswith(_ORDER) and name not in patch and isinstance(current.get(name), list):
            current[name] = _ordered(node.child(name) or _NOTHING, current[name], order)
    return current


def _value(node: Node, current: Any, patch: Any, order: list[Any] | None) -> Any:
    if isinstance(patch, dict):
        if not isinstance(current, dict) or "replace" in node.strategies:
            return _stripped(patch)
        return _struct(node, current, patch)
    if isinstance(patch, list) and "merge" in node.strategies:
        merged = _keyed(node, current or [], patch) if node.merge_key else _set(current or [], patch)
        return _ordered(node, merged, order) if order else merged
    return _stripped(patch)


def _set(current: list[Any], patch: list[Any]) -> list[Any]:
    return [*current, *(item for item in patch if item not in current)]


def _keyed(node: Node, current: list[Any], patch: list[Any]) -> list[Any]:
    key = node.merge_key
    made = [] if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch) else list(current)
    for item in patch:
        if not isinstance(item, dict):
            raise PatchError(400, f"expected an object with {key!r} in the list, got {item!r}")
        if item.get("$patch") == "replace":
            continue
        if key not in item:
            raise PatchError(400, f"map: {item} does not contain declared merge key: {key}")
        at = next((n for n, each in enumerate(made) if isinstance(each, dict) and each.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del made[at]
        elif at is None:
            made.append(_stripped(item))
        else:
            made[at] = _struct(node.items or _NOTHING, dict(made[at]), item)
    return made


def _ordered(node: Node, items: list[Any], order: list[Any]) -> list[Any]:
    """Items in the patch's order; those it does not name keep their place after what stood before them."""
    key = node.merge_key
    wanted = [entry.get(key) if key and isinstance(entry, dict) else entry for entry in order]

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    named = sorted((item for item in items if identity(item) in wanted), key=lambda item: wanted.index(identity(item)))
    rest = [item for item in items if identity(item) not in wanted]
    return [*named, *rest]
