"""Strategic merge patch: a merge patch that knows which lists are maps by a key.

Directives: `$patch: replace|delete|merge`, `$retainKeys`, `$setElementOrder/LIST`, `$deleteFromPrimitiveList/LIST`.
Source: kubernetes/community, contributors/devel/sig-api-machinery/strategic-merge-patch.md; texts of failures follow
k8s.io/apimachinery/pkg/util/strategicpatch.
"""

from typing import Any

from clew.api import shapes
from clew.api.kinds import Kind
from clew.api.objects import Object, clone
from clew.api.patch.errors import PatchError, unfit
from clew.api.shapes import ANY, Shape

_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"
_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"


def strategic_merge_patch(kind: Kind, current: Object, patch: Any) -> Object:
    """The patched copy; PatchError for a custom kind (415, it has no merge keys) or a patch that does not fit."""
    shape = shapes.of_kind(kind)
    if shape is None:
        raise PatchError(415, f"strategic merge patch is not supported for {kind.kind}: its lists have no merge keys")
    if not isinstance(patch, dict):
        raise PatchError(400, "error decoding patch: a strategic merge patch is an object")
    return _merged(shape, clone(current), patch)


def _fresh(shape: Shape, value: Any) -> Any:
    """What a patch adds where nothing was: directives say nothing there, nulls and deletions leave nothing."""
    if isinstance(value, dict):
        return _merged(shape, {}, {key: item for key, item in value.items() if key != _DIRECTIVE})
    if isinstance(value, list):
        item_shape = shape.item or ANY
        return [_fresh(item_shape, item) for item in value if not _directs(item)]
    return value


def _directs(item: Any) -> bool:
    """Whether a list's item is a command and no value."""
    return isinstance(item, dict) and item.get(_DIRECTIVE) in ("delete", "replace")


def _merged(shape: Shape, current: Object, patch: Object) -> Object:
    """`current`, changed in place."""
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: clone(value) for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise unfit(f"unknown patch type found in patch: {directive}")
    if _RETAIN in patch:
        _retain(current, patch)
    for field, value in patch.items():
        if field.startswith(_DELETE):
            _delete_values(current, field.removeprefix(_DELETE), value)
        elif field.startswith(_ORDER):
            name = field.removeprefix(_ORDER)
            if name not in patch:
                _reorder(shape, current, name, value)
        elif field in (_DIRECTIVE, _RETAIN):
            continue
        elif value is None:
            current.pop(field, None)
        else:
            _merge_field(shape, current, field, patch)
    return current


def _retain(current: Object, patch: Object) -> None:
    kept = patch[_RETAIN]
    if not isinstance(kept, list):
        raise PatchError(400, "invalid patch format of retainKeys")
    for field, value in patch.items():
        if not field.startswith("$") and value is not None and field not in kept:
            raise PatchError(400, "invalid patch format of retainKeys")
    for field in [field for field in current if field not in kept]:
        del current[field]


def _delete_values(current: Object, name: str, values: Any) -> None:
    if not isinstance(values, list):
        raise PatchError(400, "invalid patch format of primitive list")
    if isinstance(current.get(name), list):
        current[name] = [item for item in current[name] if item not in values]


def _reorder(shape: Shape, current: Object, name: str, order: Any) -> None:
    if isinstance(current.get(name), list):
        place = shape.child(name) or ANY
        current[name] = _ordered(place.merge_key, current[name], current[name], _order(order))


def _order(order: Any) -> list[Any]:
    if not isinstance(order, list):
        raise PatchError(400, "invalid patch format of setElementOrder list")
    return order


def _named(patch: list[Any]) -> list[Any]:
    """Without an order of its own a patch's items give it: what is new stands first."""
    return [item for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item)]


def _merge_field(shape: Shape, current: Object, field: str, patch: Object) -> None:
    place, value = shape.child(field) or ANY, patch[field]
    before = current.get(field)
    if isinstance(value, dict) and isinstance(before, dict) and "replace" not in place.strategies:
        current[field] = _merged(place, before, value)
    elif isinstance(value, list) and "merge" in place.strategies:
        before = before if isinstance(before, list) else []
        after = _keyed(place, before, value) if place.merge_key else _united(before, value)
        order = patch.get(_ORDER + field)
        named = _named(value) if order is None else _order(order)
        current[field] = _ordered(place.merge_key, before, after, named)
    elif isinstance(value, dict) and place.form in ("list", "string", "boolean", "int32", "integer"):
        raise unfit(f"cannot restore slice from map: {field} is no object")
    else:
        current[field] = _fresh(place, value)


def _united(before: list[Any], patch: list[Any]) -> list[Any]:
    made = list(before)
    for item in patch:
        if item not in made:
            made.append(item)
    return made


def _keyed(place: Shape, before: list[Any], patch: list[Any]) -> list[Any]:
    """A list of objects merged by its key."""
    key, item_shape = place.merge_key, place.item or ANY
    if any(not isinstance(item, dict) for item in patch):
        raise unfit("expected an object in a list that is merged by key")
    if any(item.get(_DIRECTIVE) == "replace" for item in patch):  # taken as it is: its own items are not merged either
        return [_fresh(item_shape, item) for item in patch if not _directs(item)]
    made = list(before)
    for item in patch:
        directive = item.get(_DIRECTIVE)
        if key not in item:
            raise unfit(f"{_go_map(item)} does not contain declared merge key: {key}")
        at = next((n for n, each in enumerate(made) if isinstance(each, dict) and each.get(key) == item[key]), None)
        if directive == "delete":
            made = [each for each in made if not (isinstance(each, dict) and each.get(key) == item[key])]
        elif at is None:
            made.append(_fresh(item_shape, item))
        else:
            made[at] = _merged(item_shape, made[at], item)
    return made


def _go_map(item: Object) -> str:
    """As Go prints a map: `map: map[image:x name:y]`."""
    return "map: map[" + " ".join(f"{key}:{item[key]}" for key in sorted(item)) + "]"


def _ordered(key: str, before: list[Any], after: list[Any], order: list[Any]) -> list[Any]:
    """The named items in the patch's order; each other item goes before the first named one that it stood before."""

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    was = [identity(item) for item in before]
    made = sorted((item for item in after if identity(item) in wanted), key=lambda item: wanted.index(identity(item)))
    at = 0
    for item in after:
        if identity(item) in wanted:
            continue
        place = was.index(identity(item)) if identity(item) in was else len(was)
        while at < len(made) and not (identity(made[at]) in was and was.index(identity(made[at])) > place):
            at += 1
        made.insert(at, item)
        at += 1
    return made
