"""JSON Patch (RFC 6902) with JSON Pointer (RFC 6901)."""

from typing import Any

from clew.api.objects import Object, clone
from clew.api.patch.errors import PatchError

_MOST = 10_000  # operations


def json_patch(current: Object, operations: list[Any]) -> Object:
    """All operations in order, or PatchError naming the first that cannot be done."""
    if len(operations) > _MOST:
        raise PatchError(413, f"the allowed maximum operations in a JSON patch is {_MOST}, got {len(operations)}")
    document: Any = clone(current)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise PatchError(400, "an operation of a JSON patch has op and path")
        document = _apply(document, operation)
    if not isinstance(document, dict):
        raise PatchError(422, "the patch leaves no object")
    return document


def _apply(document: Any, operation: Object) -> Any:
    op, path = operation.get("op"), operation["path"]
    match op:
        case "add":
            return _add(document, path, clone(_value(operation)))
        case "remove":
            return _remove(document, path)
        case "replace":
            _get(document, path)
            if not _tokens(path):
                return clone(_value(operation))
            return _add(_remove(document, path), path, clone(_value(operation)))
        case "move":
            value = _get(document, operation.get("from", ""))
            return _add(_remove(document, operation.get("from", "")), path, value)
        case "copy":
            return _add(document, path, clone(_get(document, operation.get("from", ""))))
        case "test":
            if _get(document, path) != _value(operation):
                raise PatchError(
                    422, f"the server rejected our request due to an error in our request: testing value {path} failed"
                )
            return document
    raise PatchError(400, f"Unexpected kind: {op}")


def _value(operation: Object) -> Any:
    if "value" not in operation:
        raise PatchError(400, f"operation {operation.get('op')} at {operation['path']} has no value")
    return operation["value"]


def _tokens(path: str) -> list[str]:
    if not path:
        return []
    if not path.startswith("/"):
        raise PatchError(400, f"a JSON pointer starts with '/': {path}")
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _missing(op: str, path: str) -> PatchError:
    return PatchError(422, f"{op} operation does not apply: doc is missing path: {path}: missing value")


def _index(items: list[Any], token: str, path: str, most: int) -> int:
    if not token.removeprefix("-").isdecimal() or not -len(items) <= int(token) <= most:
        raise PatchError(422, f"add operation does not apply: doc is missing path: {path}: invalid index {token}")
    return int(token)


def _step(container: Any, token: str, path: str) -> Any:
    if isinstance(container, dict) and token in container:
        return container[token]
    if isinstance(container, list):
        return container[_index(container, token, path, len(container) - 1)]
    raise _missing("replace", path)


def _get(document: Any, path: str) -> Any:
    for token in _tokens(path):
        document = _step(document, token, path)
    return document


def _parent(document: Any, path: str) -> tuple[Any, str]:
    *way, last = _tokens(path)
    for token in way:
        document = _step(document, token, path)
    return document, last


def _add(document: Any, path: str, value: Any) -> Any:
    if not _tokens(path):
        return value
    parent, last = _parent(document, path)
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(parent, last, path, len(parent)), value)
    else:
        raise _missing("add", path)
    return document


def _remove(document: Any, path: str) -> Any:
    if not _tokens(path):
        return None
    parent, last = _parent(document, path)
    if isinstance(parent, dict) and last in parent:
        del parent[last]
    elif isinstance(parent, list):
        del parent[_index(parent, last, path, len(parent) - 1)]
    else:
        raise _missing("remove", path)
    return document
