"""Unknown fields and wrong types: a check for each type of object, compiled once, run in tens of microseconds."""

import functools
from collections.abc import Callable
from typing import Any

from clew.api import shapes
from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.api.schema.problem import FieldProblem
from clew.api.schema.scalars import SCALARS, WRONG_TYPE, Problem
from clew.api.shapes import Shape

# (the trail before, the field, index or key, the Go struct that has the field or "")
_Trail = tuple[Any, str, str] | None
_Check = Callable[[Any, _Trail, list[FieldProblem]], None]


def decode_problems(kind: Kind, obj: Object) -> list[FieldProblem]:
    """All problems in the order of the object's fields; of a custom kind's only those of its metadata."""
    shape = shapes.of_kind(kind)
    found: list[FieldProblem] = []
    if shape is not None:
        _struct(shape.type)(obj, None, found)
    else:
        _identity(kind.kind, obj, found)
    return found


def _identity(owner: str, obj: Object, found: list[FieldProblem]) -> None:
    """What every kind has: the two words that say what it is, and ObjectMeta."""
    for field in ("apiVersion", "kind"):
        if obj.get(field) is not None and not isinstance(obj[field], str):
            _wrong_type(Shape("string"), obj[field], (None, f".{field}", owner), found)
    if obj.get("metadata") is not None:
        _struct(shapes.METADATA_TYPE)(obj["metadata"], (None, ".metadata", owner), found)


def _path(trail: _Trail) -> str:
    """`spec.containers[0].image`."""
    parts: list[str] = []
    while trail is not None:
        trail, text, _ = trail
        parts.append(text)
    return "".join(reversed(parts)).removeprefix(".")


def _go_field(trail: _Trail) -> str:
    """`Container.spec.containers.image`: the innermost struct, then the fields without indexes and map keys."""
    names: list[str] = []
    innermost = ""
    while trail is not None:
        trail, text, owner = trail
        if owner:
            names.append(text.removeprefix("."))
            innermost = innermost or owner
    return ".".join([innermost, *reversed(names)])


_JSON_NAMES = {str: "string", bool: "bool", list: "array", dict: "object"}


def _wrong_type(shape: Shape, value: Any, trail: _Trail, out: list[FieldProblem]) -> None:
    name = _JSON_NAMES.get(type(value), "number")
    if name == "number" and shape.form in ("int32", "integer"):
        name = f"number {value}"
    field = f"Go struct field {_go_field(trail)}" if trail is not None else "Go value"
    text = f"json: cannot unmarshal {name} into {field} of type {_go_type(shape, trail)}"
    out.append(FieldProblem(_path(trail), text, fatal=True))


_GO_TYPES = {
    "string": "string", "boolean": "bool", "int32": "int32", "integer": "int64", "number": "float64",
    "bytes": "[]uint8", "time": "v1.Time", "quantity": "resource.Quantity",
    "int-or-string": "intstr.IntOrString", "any": "interface {}",
}  # fmt: skip
# named string types, which OpenAPI does not tell from plain strings
_GO_NAMES = {
    "protocol": "v1.Protocol", "imagePullPolicy": "v1.PullPolicy", "restartPolicy": "v1.RestartPolicy",
    "dnsPolicy": "v1.DNSPolicy", "sessionAffinity": "v1.ServiceAffinity",
    "terminationMessagePolicy": "v1.TerminationMessagePolicy", "addressType": "v1.AddressType",
    "externalTrafficPolicy": "v1.ServiceExternalTrafficPolicy",
}  # fmt: skip


def _go_type(shape: Shape, trail: _Trail) -> str:
    if shape.form == "struct":
        return ".".join(shape.type.split(".")[-2:])
    if shape.form == "list":
        return f"[]{_go_type(shape.item or shapes.ANY, None)}"
    if shape.form == "map":
        return f"map[string]{_go_type(shape.item or shapes.ANY, None)}"
    if shape.form == "string" and trail is not None:
        return _GO_NAMES.get(trail[1].removeprefix("."), "string")
    return _GO_TYPES[shape.form]


@functools.cache
def _struct(name: str) -> _Check:
    """The check of a struct type; those of its fields are made when first met, for types may contain themselves."""
    go_name = name.rpartition(".")[2]
    described = shapes.struct(name).fields
    checks: dict[str, tuple[type | None, _Check]] = {}

    def check(value: Any, trail: _Trail, out: list[FieldProblem]) -> None:
        if value.__class__ is not dict:
            _wrong_type(Shape("struct", type=name), value, trail, out)
            return
        for field, item in value.items():
            known = checks.get(field)
            if known is None:
                shape = described.get(field)
                if shape is None:
                    path = _path((trail, f".{field}", go_name))
                    out.append(FieldProblem(path, f'unknown field "{path}"'))
                    continue
                known = checks[field] = (_PLAIN.get(shape.form), _compiled(shape))
            if item is not None and item.__class__ is not known[0]:
                known[1](item, (trail, f".{field}", go_name), out)

    return check


_PLAIN: dict[str, type] = {"string": str, "boolean": bool}  # whatever is of this class is right


def _compiled(shape: Shape) -> _Check:
    match shape.form:
        case "struct":
            return _struct(shape.type)
        case "list":
            return _list(shape)
        case "map":
            return _map(shape)
        case "any":
            return _anything
    return functools.partial(_scalar, shape, SCALARS[shape.form])


def _anything(_value: Any, _trail: _Trail, _out: list[FieldProblem]) -> None:
    return


def _list(shape: Shape) -> _Check:
    item_shape = shape.item or shapes.ANY
    check, plain = _compiled(item_shape), _PLAIN.get(item_shape.form)

    def run(value: Any, trail: _Trail, out: list[FieldProblem]) -> None:
        if value.__class__ is not list:
            _wrong_type(shape, value, trail, out)
            return
        for index, item in enumerate(value):
            if item is not None and item.__class__ is not plain:
                check(item, (trail, f"[{index}]", ""), out)

    return run


def _map(shape: Shape) -> _Check:
    item_shape = shape.item or shapes.ANY
    check, plain = _compiled(item_shape), _PLAIN.get(item_shape.form)

    def run(value: Any, trail: _Trail, out: list[FieldProblem]) -> None:
        if value.__class__ is not dict:
            _wrong_type(shape, value, trail, out)
            return
        for key, item in value.items():
            if item is not None and item.__class__ is not plain:
                check(item, (trail, f".{key}", ""), out)

    return run


def _scalar(shape: Shape, problem: Problem, value: Any, trail: _Trail, out: list[FieldProblem]) -> None:
    found = problem(value)
    if found == WRONG_TYPE:
        _wrong_type(shape, value, trail, out)
    elif found:
        out.append(FieldProblem(_path(trail), found, fatal=True))
