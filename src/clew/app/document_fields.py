"""What a decoded document says that its type does not know, by path and with the nearest name that it does know.

    nodes[1].maxpods: no such field (did you mean maxPods?)

The type is a tree of msgspec structs. msgspec itself refuses too, but names no path for a field's name and no other
name. Called by the readers of Clew's own files.
"""

import difflib
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from clew.base.errors import UserError

T = TypeVar("T")


def convert(document: Any, kind: type[T], where: str = "") -> T:
    """The document as a `kind`; UserError names the path of the first thing that is wrong."""
    for error in _unknown(document, inspect.type_info(kind), where):
        raise error
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as wrong:
        said, _, place = str(wrong).partition(" - at `$")
        inner = place.rstrip("`").lstrip(".")
        path = ".".join(part for part in (where, inner) if part)
        value = said.removeprefix("Invalid enum value ")
        if value != said and (known := _words(inspect.type_info(kind), inner)):
            raise UserError(f"{path}: {value} is not known", f"use {', '.join(known)}") from None
        message = said.replace("`", "").removeprefix("Expected ")
        remedy = f"expected {message}" if said.startswith("Expected") else message
        raise UserError(f"{path or 'the document'}: wrong type" if remedy != message else path, remedy) from None


def _words(kind: inspect.Type, path: str) -> list[str]:
    """What a field that takes certain words takes; empty for others."""
    for part in path.split("."):
        name, listed, _ = part.partition("[")
        fields = [field for each in _kinds(kind) if isinstance(each, inspect.StructType) for field in each.fields]
        kind = next((field.type for field in fields if field.encode_name == name), inspect.AnyType())
        if listed:
            lists = [each for each in _kinds(kind) if isinstance(each, inspect.ListType | inspect.VarTupleType)]
            kind = lists[0].item_type if lists else inspect.AnyType()
    return [str(value) for value in kind.values] if isinstance(kind, inspect.LiteralType) else []


def _kinds(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    return kind.types if isinstance(kind, inspect.UnionType) else (kind,)


def _unknown(value: Any, kind: inspect.Type, path: str) -> Iterator[UserError]:
    if isinstance(kind, inspect.UnionType):
        for each in kind.types:
            if isinstance(value, dict) == isinstance(each, inspect.StructType | inspect.DictType):
                yield from _unknown(value, each, path)
    elif isinstance(kind, inspect.ListType | inspect.VarTupleType) and isinstance(value, list):
        for index, each in enumerate(value):
            yield from _unknown(each, kind.item_type, f"{path}[{index}]")
    elif isinstance(kind, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        for name, each in value.items():
            here = f"{path}.{name}" if path else str(name)
            if name in fields:
                yield from _unknown(each, fields[name], here)
            else:
                yield UserError(f"{here}: no such field", _instead(str(name), list(fields)))


def _instead(name: str, known: list[str]) -> str:
    lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    return f"did you mean {lower[near[0]]}?" if near else f"fields: {' '.join(known)}"
