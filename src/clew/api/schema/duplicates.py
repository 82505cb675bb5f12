"""Keys that a body gives twice in one object: only the text knows, since decoding keeps the last."""

import json
from collections.abc import Iterator
from typing import Any

import yaml

from clew.api.objects import Object
from clew.api.schema.problem import FieldProblem


def duplicate_fields(raw: bytes, *, is_yaml: bool = False) -> list[FieldProblem]:
    """Keys given twice in one object of a body: decoding keeps the last, so the text itself must be asked.

    ValueError for a body that cannot be read; the decoder has said so before.
    """
    return list(_yaml_duplicates(raw)) if is_yaml else _json_duplicates(raw)


def _json_duplicates(raw: bytes) -> list[FieldProblem]:
    repeated: dict[int, list[str]] = {}
    kept: list[Object] = []  # alive as long as their ids are used

    def pairs(found: list[tuple[str, Any]]) -> Object:
        made = dict(found)
        if len(made) != len(found):
            seen: set[str] = set()
            repeated[id(made)] = [key for key, _ in found if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
            kept.append(made)
        return made

    document = json.loads(raw, object_pairs_hook=pairs)
    return list(_repeated(document, "", repeated)) if repeated else []


def _repeated(value: Any, path: str, repeated: dict[int, list[str]]) -> Iterator[FieldProblem]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, f"{path}[{index}]", repeated)
    elif isinstance(value, dict):
        twice = repeated.get(id(value), ())
        for key, item in value.items():
            place = f"{path}.{key}" if path else key
            if key in twice:
                yield FieldProblem(place, f'duplicate field "{place}"')
            yield from _repeated(item, place, repeated)


def _yaml_duplicates(raw: bytes) -> Iterator[FieldProblem]:
    try:
        root = yaml.compose(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as wrong:
        raise ValueError(str(wrong)) from None
    waiting = [root] if root is not None else []
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, item in node.value:
                if key.value in seen:
                    line = key.start_mark.line + 1
                    yield FieldProblem(key.value, f'line {line}: key "{key.value}" already set in map')
                seen.add(key.value)
                waiting.append(item)
