"""JSON Merge Patch (RFC 7386)."""

from typing import Any

from clew.api.objects import Object, clone
from clew.api.patch.errors import PatchError


def merge_patch(current: Object, patch: Any) -> Object:
    """A copy of `current` with `patch` laid over it: null removes, objects merge, everything else is replaced."""
    if not isinstance(patch, dict):
        raise PatchError(400, "error decoding patch: a merge patch is an object")
    merged: Object = _merge(clone(current), patch)
    return merged


def _merge(current: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return clone(patch)
    made = current if isinstance(current, dict) else {}
    for field, value in patch.items():
        if value is None:
            made.pop(field, None)
        else:
            made[field] = _merge(made.get(field), value)
    return made
