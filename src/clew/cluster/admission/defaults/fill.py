"""The one step that all defaults are made of."""

from typing import Any

from clew.api.objects import Object


def fill(obj: Object, **defaults: Any) -> None:
    """Set the fields that are absent or null."""
    for name, value in defaults.items():
        if obj.get(name) is None:
            obj[name] = value


def fill_empty(obj: Object, **defaults: Any) -> None:
    """Set the fields whose zero means absent: numbers and strings that are no pointers in Go."""
    for name, value in defaults.items():
        if not obj.get(name):
            obj[name] = value


def part(obj: Object, name: str) -> Object:
    """A struct that is always there."""
    fill(obj, **{name: {}})
    found: Object = obj[name]
    return found
