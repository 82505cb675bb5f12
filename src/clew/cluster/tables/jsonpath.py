"""The part of JSONPath that printer columns use: `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`."""

import re
from typing import Any

_STEP = re.compile(
    r"""\.(?P<field>[A-Za-z0-9_\-/]+(?:\\\.[A-Za-z0-9_\-/]+)*)"""
    r"""|\[(?P<index>-?\d+|\*)\]"""
    r"""|\[\?\(@\.(?P<key>[\w.]+)\s*==\s*["'](?P<value>[^"']*)["']\)\]"""
    r"""|\[["'](?P<quoted>[^"']+)["']\]"""
)


def first(obj: Any, path: str) -> Any:
    """The first value at the path, None where there is none or the path cannot be read."""
    values, at = [obj], 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return None
        at = step.end()
        values = [found for value in values for found in _follow(value, step)]
    return values[0] if values else None


def _follow(value: Any, step: re.Match[str]) -> list[Any]:
    field = step["field"] or step["quoted"]
    if field:
        field = field.replace("\\.", ".")
        return [value[field]] if isinstance(value, dict) and field in value else []
    if not isinstance(value, list):
        return []
    if step["key"]:
        return [item for item in value if isinstance(item, dict) and str(item.get(step["key"])) == step["value"]]
    if step["index"] == "*":
        return list(value)
    index = int(step["index"])
    return [value[index]] if -len(value) <= index < len(value) else []
