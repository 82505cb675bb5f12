"""JSON Merge Patch (RFC 7386)."""

from typing import Any

from clew.api.objects import Object, clone


def merge_patch(current: Object, patch: Object) -> Object:
    """`current` with `patch` laid over it; null removes, lists are replaced."""
    merged: Object = _merge(current, patch)
    return merged


def _merge(current: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return clone(patch)
    made = dict(current) if isinstance(current, dict) else {}
    for field, value in patch.items():
        if value is None:
            made.pop(field, None)
        else:
            made[field] = _merge(made.get(field), value)
    return clone(made)
