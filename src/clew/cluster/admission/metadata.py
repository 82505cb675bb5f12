"""The rules of metadata: names by kind, labels, annotations, owners, finalizers, what may not change."""

from collections.abc import Callable, Iterator

from clew.api.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    NAMESPACE,
    ROLE,
    ROLE_BINDING,
    SERVICE,
    Kind,
)
from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import FieldError, invalid, required

_MOST_ANNOTATIONS = 256 << 10  # bytes
_PATH_NAMES = {ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING}


def _path_segment(name: str) -> bool:
    return name not in {".", ".."} and "/" not in name and "%" not in name


def _rule(kind: Kind) -> tuple[Callable[[str], bool], str]:
    if kind == SERVICE:
        return names.is_label, names.LABEL_TEXT
    if kind == NAMESPACE:
        return names.is_label, names.LABEL_TEXT
    if kind in _PATH_NAMES:
        return _path_segment, "may not contain '/' or '%' and may not be '.' or '..'"
    return names.is_subdomain, names.SUBDOMAIN_TEXT


def validate_metadata(kind: Kind, obj: Object, old: Object | None) -> list[FieldError]:
    """All that is wrong in `metadata`; with `old`, what may not have changed as well."""
    meta = obj.get("metadata") or {}
    found: list[FieldError] = []
    name = meta.get("name") or ""
    check, text = _rule(kind)
    if not name:
        found.append(required("metadata.name", "name or generateName is required"))
    elif len(name) > 253 or not check(name):
        found.append(invalid("metadata.name", name, text))
    found += _labels(meta)
    found += _annotations(meta)
    found += _owners(meta)
    for at, finalizer in enumerate(meta.get("finalizers") or ()):
        if not names.is_qualified(finalizer):
            found.append(invalid(f"metadata.finalizers[{at}]", finalizer, names.QUALIFIED_TEXT))
    return found + (_unchanged(meta, old["metadata"]) if old else [])


def label_errors(labels: Object, field: str) -> Iterator[FieldError]:
    for key, value in labels.items():
        if not names.is_qualified(key):
            yield invalid(field, key, names.QUALIFIED_TEXT)
        if not names.is_label_value(value):
            yield invalid(field, value, names.LABEL_VALUE_TEXT)


def _labels(meta: Object) -> list[FieldError]:
    return list(label_errors(meta.get("labels") or {}, "metadata.labels"))


def _annotations(meta: Object) -> list[FieldError]:
    annotations = meta.get("annotations") or {}
    found = [
        invalid("metadata.annotations", key, names.QUALIFIED_TEXT)
        for key in annotations
        if not names.is_qualified(key.lower())
    ]
    if sum(len(key) + len(value or "") for key, value in annotations.items()) > _MOST_ANNOTATIONS:
        found.append(
            FieldError(
                "metadata.annotations", "FieldValueTooLong", None, f"may not be more than {_MOST_ANNOTATIONS} bytes"
            )
        )
    return found


def _owners(meta: Object) -> list[FieldError]:
    found: list[FieldError] = []
    references = meta.get("ownerReferences") or []
    for at, reference in enumerate(references):
        missing = [field for field in ("apiVersion", "kind", "name", "uid") if not reference.get(field)]
        found += [required(f"metadata.ownerReferences[{at}].{field}", "must not be empty") for field in missing]
    controllers = [reference.get("name") for reference in references if reference.get("controller")]
    if len(controllers) > 1:
        both = " and ".join(controllers[:2])
        text = f'Only one reference can have Controller set to true. Found "true" in references for {both}'
        found.append(invalid("metadata.ownerReferences", references, text))
    return found


def _unchanged(meta: Object, before: Object) -> list[FieldError]:
    found: list[FieldError] = []
    if before.get("deletionTimestamp"):
        new = set(meta.get("finalizers") or ()) - set(before.get("finalizers") or ())
        if new:
            text = f"no new finalizers can be added if the object is being deleted, found new finalizers {sorted(new)}"
            found.append(FieldError("metadata.finalizers", "FieldValueForbidden", None, text))
    return found
