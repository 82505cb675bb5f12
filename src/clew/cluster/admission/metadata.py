"""The rules of metadata: names by kind, labels, annotations, owners, finalizers, what may not change.

Source of the texts: k8s.io/apimachinery/pkg/api/validation.
"""

from collections.abc import Iterator, Mapping
from typing import Any

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
from clew.cluster.admission.field_errors import (
    FieldError,
    each_invalid,
    forbidden,
    invalid,
    required,
    too_long,
)

_MOST_ANNOTATIONS = 256 << 10  # bytes
_NAME_RULES: dict[Kind, names.Rule] = {
    SERVICE: names.label, NAMESPACE: names.label, ROLE: names.path_segment, ROLE_BINDING: names.path_segment,
    CLUSTER_ROLE: names.path_segment, CLUSTER_ROLE_BINDING: names.path_segment,
}  # fmt: skip
_BEGINNINGS = ("orphan", "foregroundDeletion")  # finalizers without a domain that the server itself knows


def validate_metadata(kind: Kind, obj: Object, old: Object | None) -> list[FieldError]:
    """All that is wrong in `metadata`; with `old`, what may not have changed as well."""
    meta: Object = obj.get("metadata") or {}
    found = [
        *_name(kind, meta),
        *label_errors(meta.get("labels") or {}, "metadata.labels"),
        *annotation_errors(meta.get("annotations") or {}, "metadata.annotations"),
        *_owners(meta),
        *_finalizers(meta),
    ]
    return found + (list(_unchanged(meta, old.get("metadata") or {})) if old else [])


def _name(kind: Kind, meta: Object) -> Iterator[FieldError]:
    rule = _NAME_RULES.get(kind, names.subdomain)
    prefix = meta.get("generateName") or ""
    if prefix:
        masked = f"{prefix[:-2]}a" if len(prefix) > 1 and prefix.endswith("-") else prefix
        yield from each_invalid("metadata.generateName", prefix, rule(masked))
    if not meta.get("name"):
        yield required("metadata.name", "name or generateName is required")
    else:
        yield from each_invalid("metadata.name", meta["name"], rule(meta["name"]))


def label_errors(labels: Mapping[str, Any], field: str) -> Iterator[FieldError]:
    """Also for selectors, which are made of labels."""
    for key, value in labels.items():
        yield from each_invalid(field, key, names.qualified(key))
        yield from each_invalid(field, value, names.label_value(str(value or "")))


def annotation_errors(annotations: Mapping[str, Any], field: str) -> Iterator[FieldError]:
    for key in annotations:
        yield from each_invalid(field, key, names.qualified(key.lower()))
    if sum(len(key.encode()) + len((value or "").encode()) for key, value in annotations.items()) > _MOST_ANNOTATIONS:
        yield too_long(field, _MOST_ANNOTATIONS)


def _owners(meta: Object) -> Iterator[FieldError]:
    references = meta.get("ownerReferences") or []
    controllers: list[str] = []
    for index, reference in enumerate(references):
        at = f"metadata.ownerReferences[{index}]"
        if "/" not in (reference.get("apiVersion") or "/") and reference["apiVersion"] != "v1":
            yield invalid(f"{at}.apiVersion", reference["apiVersion"], "version must not be empty")
        for field in ("apiVersion", "kind", "name", "uid"):
            if not reference.get(field):
                yield required(f"{at}.{field}", "must not be empty")
        if reference.get("apiVersion") == "v1" and reference.get("kind") == "Event":
            yield invalid(at, reference, "Event is disallowed from being an owner")
        if reference.get("controller"):
            controllers.append(reference.get("name") or "")
    if len(controllers) > 1:
        text = 'Only one reference can have Controller set to true. Found "true" in references for'
        yield invalid("metadata.ownerReferences", references, f"{text} {controllers[0]} and {controllers[1]}")


def _finalizers(meta: Object) -> Iterator[FieldError]:
    finalizers = meta.get("finalizers") or []
    for index, finalizer in enumerate(finalizers):
        yield from each_invalid(f"metadata.finalizers[{index}]", finalizer, names.qualified(finalizer))
        if not {"/", "."} & set(finalizer) and finalizer not in (*_BEGINNINGS, "kubernetes"):
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid(f"metadata.finalizers[{index}]", finalizer, text)
    if all(name in finalizers for name in _BEGINNINGS):
        yield invalid(
            "metadata.finalizers", finalizers, "finalizer orphan and foregroundDeletion cannot be both set"
        )  # fmt: skip


def _unchanged(meta: Object, before: Object) -> Iterator[FieldError]:
    for field in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if meta.get(field) is not None and meta[field] != before.get(field):
            yield invalid(f"metadata.{field}", meta[field], "field is immutable")
    if before.get("deletionTimestamp"):
        added = sorted(set(meta.get("finalizers") or ()) - set(before.get("finalizers") or ()))
        if added:
            text = "no new finalizers can be added if the object is being deleted, found new finalizers"
            shown = ", ".join(f'"{each}"' for each in added)
            yield forbidden("metadata.finalizers", f"{text} []string{{{shown}}}")
