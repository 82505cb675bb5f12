"""JSON Patch (RFC 6902) with JSON Pointer (RFC 6901). Texts of failures follow evanphx/json-patch."""

from collections.abc import Callable
from typing import Any

from clew.api.objects import Object, clone
from clew.api.patch.errors import PatchError, unfit

_MOST = 10_000  # operations, as in kube-apiserver


def json_patch(current: Object, operations: Any) -> Object:
    """All operations in order on a copy; PatchError names the first that cannot be done, and nothing is changed."""
    if not isinstance(operations, list):
        raise PatchError(400, "error decoding patch: a JSON patch is a list of operations")
    if len(operations) > _MOST:
        text = f"The allowed maximum operations in a JSON patch is {_MOST}, got {len(operations)}"
        raise PatchError(413, f"Request entity is too large: {text}")
    document: Any = clone(current)
    for operation in operations:
        document = _apply(document, operation)
    if not isinstance(document, dict):
        raise unfit("the patch leaves no object")
    return document


def _apply(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
        raise PatchError(400, "error decoding patch: every operation of a JSON patch has an op and a path")
    name = operation.get("op")
    if name not in _OPERATIONS:
        raise unfit(f"Unexpected kind: {name}")
    return _OPERATIONS[name](document, operation)


def pointer(path: str) -> list[str]:
    """The parts of a JSON pointer: `/a~1b/0` is `a/b`, `0`; the whole document is no part at all."""
    if not path:
        return []
    if not path.startswith("/"):
        raise unfit(f"a JSON pointer starts with '/': {path}")
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def _value(operation: Object) -> Any:
    if "value" not in operation:
        raise unfit(f"{operation['op']} operation: missing value for {operation['path']}")
    return clone(operation["value"])


def _origin(operation: Object) -> str:
    origin = operation.get("from")
    if not isinstance(origin, str):
        raise unfit(f"{operation['op']} operation failed to decode from: missing value")
    return origin


def _add(document: Any, operation: Object) -> Any:
    return _put(document, operation["path"], _value(operation), "add")


def _remove(document: Any, operation: Object) -> Any:
    return _take(document, operation["path"], "remove")[0]


def _replace(document: Any, operation: Object) -> Any:
    path = operation["path"]
    if not pointer(path):
        return _value(operation)
    container, last = _container(document, path, "replace")
    if isinstance(container, dict) and last in container:
        container[last] = _value(operation)
    elif isinstance(container, list):
        container[_index(container, last, path, "replace")] = _value(operation)
    else:
        raise _missing_key("replace", path)
    return document


def _move(document: Any, operation: Object) -> Any:
    origin, path = _origin(operation), operation["path"]
    if path.startswith(f"{origin}/"):
        raise unfit(f"move operation does not apply: {path} lies inside {origin}")
    document, value = _take(document, origin, "move")
    return _put(document, path, value, "move")


def _copy(document: Any, operation: Object) -> Any:
    return _put(document, operation["path"], clone(_look(document, _origin(operation), "copy")), "copy")


def _test(document: Any, operation: Object) -> Any:
    path = operation["path"]
    try:
        found = _look(document, path, "test")
    except PatchError:
        found = None  # a path that is not there equals null, as in evanphx/json-patch
    if not same(found, operation.get("value")):
        raise unfit(f"testing value {path} failed: test failed")
    return document


_OPERATIONS: dict[Any, Callable[[Any, Object], Any]] = {
    "add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _copy, "test": _test,
}  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values; Python's own would hold true and 1 for equal."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _missing_path(name: str, path: str) -> PatchError:
    return unfit(f'{name} operation does not apply: doc is missing path: "{path}": missing value')


def _missing_key(name: str, path: str) -> PatchError:
    return unfit(f"{name} operation does not apply: doc is missing key: {path}: missing value")


def _index(items: list[Any], part: str, path: str, name: str, *, end: bool = False) -> int:
    """The index that a part names; with `end` the place after the last item counts too."""
    digits = part.isascii() and part.isdigit() and (part == "0" or part[0] != "0")
    if not digits or int(part) > len(items) - (not end):
        raise unfit(f"{name} operation does not apply: {path}: unable to access invalid index: {part}")
    return int(part)


def _container(document: Any, path: str, name: str) -> tuple[Any, str]:
    *way, last = pointer(path)
    for part in way:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(document, part, path, name)]
        else:
            raise _missing_path(name, path)
    return document, last


def _look(document: Any, path: str, name: str) -> Any:
    if not pointer(path):
        return document
    container, last = _container(document, path, name)
    if isinstance(container, dict) and last in container:
        return container[last]
    if isinstance(container, list):
        return container[_index(container, last, path, name)]
    raise _missing_key(name, path)


def _put(document: Any, path: str, value: Any, name: str) -> Any:
    if not pointer(path):
        return value
    container, last = _container(document, path, name)
    if isinstance(container, dict):
        container[last] = value
    elif isinstance(container, list):
        container.insert(len(container) if last == "-" else _index(container, last, path, name, end=True), value)
    else:
        raise _missing_path(name, path)
    return document


def _take(document: Any, path: str, name: str) -> tuple[Any, Any]:
    """The document without the value at a path, and the value."""
    if not pointer(path):
        return None, document
    container, last = _container(document, path, name)
    if isinstance(container, dict) and last in container:
        return document, container.pop(last)
    if isinstance(container, list):
        return document, container.pop(_index(container, last, path, name))
    if not isinstance(container, dict):
        raise _missing_path(name, path)
    raise unfit(
        f"{name} operation does not apply: doc is missing key: {path}: unable to remove nonexistent key: {last}"
    )
