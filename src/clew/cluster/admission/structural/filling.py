"""Objects of custom kinds brought into form: unknown fields dropped, defaults filled in."""

from typing import Any

from clew.api.objects import Object, clone

PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
_IDENTITY = ("apiVersion", "kind", "metadata")


def prune_by_schema(schema: Object, obj: Any) -> list[str]:
    """Remove fields that the schema does not name, in place. Returns their paths, as `spec.foo[0].bar`."""
    dropped: list[str] = []
    _prune(schema, obj, "", dropped, is_object=True)
    return dropped


def _prune(schema: Object, value: Any, path: str, dropped: list[str], *, is_object: bool = False) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            _prune_below(schema.get("items") or {}, item, f"{path}[{index}]", dropped)
        return
    if not isinstance(value, dict):
        return
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    for name in list(value):
        place = f"{path}.{name}" if path else name
        if is_object and name in _IDENTITY:
            continue
        if name in properties:
            _prune_below(properties[name], value[name], place, dropped)
        elif isinstance(extra, dict):
            _prune_below(extra, value[name], place, dropped)
        elif not (schema.get(PRESERVE) or extra):
            del value[name]
            dropped.append(place)


def _prune_below(schema: Object, value: Any, path: str, dropped: list[str]) -> None:
    _prune(schema, value, path, dropped, is_object=bool(schema.get(EMBEDDED)))


def default_by_schema(schema: Object, obj: Any) -> None:
    """Fill the schema's defaults, in place; a null that is not allowed counts as absent where there is a default."""
    if isinstance(obj, list):
        for item in obj:
            default_by_schema(schema.get("items") or {}, item)
    elif isinstance(obj, dict):
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, inner in properties.items():
            if "default" in inner and obj.get(name) is None and not (name in obj and inner.get("nullable")):
                obj[name] = clone(inner["default"])
        for name, value in obj.items():
            below = properties.get(name) or (extra if isinstance(extra, dict) else None)
            if below:
                default_by_schema(below, value)
