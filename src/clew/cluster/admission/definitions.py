"""The rules of CustomResourceDefinitions: names, versions, and schemas that are structural.

Source of rules and texts: k8s.io/apiextensions-apiserver pkg/apis/apiextensions/validation and pkg/apiserver/schema.
"""

from collections.abc import Iterator
from typing import Any

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.cel import compile_errors, form_errors
from clew.cluster.admission.field_errors import (
    FieldError,
    duplicate,
    each_invalid,
    invalid,
    one_of,
    required,
)
from clew.cluster.admission.structural.rules import structural_errors

_SCOPES = ("Cluster", "Namespaced")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_APPROVED = "api-approved.kubernetes.io"
_APPROVAL_PAGE = "https://github.com/kubernetes/enhancements/pull/1111"
_STRATEGIES = ("None", "Webhook")


def crd_errors(crd: Object) -> Iterator[FieldError]:
    spec = crd.get("spec") or {}
    given = spec.get("names") or {}
    group = spec.get("group") or ""
    wanted = f"{given.get('plural') or ''}.{group}"
    name = (crd.get("metadata") or {}).get("name")
    if name != wanted:
        yield invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    if not group:
        yield required("spec.group")
    else:
        yield from each_invalid("spec.group", group, names.subdomain(group))
        if "." not in group:
            yield invalid("spec.group", group, "should be a domain with at least one dot")
    yield from _approval(crd, group)
    yield from one_of("spec.scope", spec.get("scope"), _SCOPES)
    yield from _names(given)
    yield from _versions(spec.get("versions") or [])
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid("spec.preserveUnknownFields", value=True, detail=text)
    yield from one_of("spec.conversion.strategy", (spec.get("conversion") or {}).get("strategy"), _STRATEGIES)


def _approval(crd: Object, group: str) -> Iterator[FieldError]:
    """Groups of the Kubernetes community itself need a word of who approved the API."""
    if not group.endswith((".k8s.io", ".kubernetes.io")) and group not in {"k8s.io", "kubernetes.io"}:
        return
    word = ((crd.get("metadata") or {}).get("annotations") or {}).get(_APPROVED) or ""
    at, text = f"metadata.annotations[{_APPROVED}]", f'protected groups must have approval annotation "{_APPROVED}"'
    if not word:
        yield required(at, f"{text}, see {_APPROVAL_PAGE}")
    elif not word.startswith(("unapproved", "http://", "https://")):
        reason = f'with either a URL or a reason starting with "unapproved", see {_APPROVAL_PAGE}'
        yield invalid(at, word, f"{text} {reason}")


def _names(given: Object) -> Iterator[FieldError]:
    for field in ("plural", "singular", "kind", "listKind"):
        at, value = f"spec.names.{field}", given.get(field) or ""
        if not value:
            yield required(at)
        elif field in ("plural", "singular"):
            yield from each_invalid(at, value, names.label_1035(value))
        else:
            problems = names.label_1035(value.lower())
            yield from each_invalid(
                at, value, (f"may have mixed case, but should otherwise match: {each}" for each in problems)
            )
    for field in ("shortNames", "categories"):
        for index, value in enumerate(given.get(field) or []):
            yield from each_invalid(f"spec.names.{field}[{index}]", value, names.label_1035(value))
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        yield invalid("spec.names.listKind", given["listKind"], "kind and listKind may not be the same")


def _versions(versions: list[Object]) -> Iterator[FieldError]:
    titles = [version.get("name") or "" for version in versions]
    if not versions:
        yield required("spec.versions", "must have at least one version")
        return
    if len(set(titles)) != len(titles):
        yield invalid("spec.versions", titles, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield invalid("spec.versions", titles, "must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        at = f"spec.versions[{index}]"
        yield from each_invalid(f"{at}.name", titles[index], names.label_1035(titles[index]))
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not schema:
            yield required(f"{at}.schema.openAPIV3Schema", "schemas are required")
        else:
            yield from _schema(schema, f"{at}.schema.openAPIV3Schema")
        yield from _scale((version.get("subresources") or {}).get("scale"), f"{at}.subresources.scale")
        yield from _columns(version.get("additionalPrinterColumns") or [], f"{at}.additionalPrinterColumns")


def _schema(schema: Object, at: str) -> Iterator[FieldError]:
    """Rules are compiled where the schema is right: without its types nothing of use can be said of them."""
    wrong = [*structural_errors(schema, at), *form_errors(schema, at)]
    yield from wrong or compile_errors(schema, at)


def _scale(scale: Any, at: str) -> Iterator[FieldError]:
    if scale is None:
        return
    for field, root in (
        ("specReplicasPath", ".spec"), ("statusReplicasPath", ".status"), ("labelSelectorPath", ""),
    ):  # fmt: skip
        path = scale.get(field) or ""
        if not path:
            if root:
                yield required(f"{at}.{field}")
        elif root and not path.startswith(f"{root}."):
            yield invalid(f"{at}.{field}", path, f"should be a json path under {root}")
        elif not root and not path.startswith((".spec.", ".status.")):
            yield invalid(f"{at}.{field}", path, "should be a json path under either .spec or .status")


def _columns(columns: list[Object], at: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, column in enumerate(columns):
        here = f"{at}[{index}]"
        name, path = column.get("name") or "", column.get("jsonPath") or ""
        if not name:
            yield required(f"{here}.name")
        elif name in seen:
            yield duplicate(f"{here}.name", name)
        seen.add(name)
        yield from one_of(f"{here}.type", column.get("type"), _COLUMN_TYPES)
        if not path:
            yield required(f"{here}.jsonPath")
        elif not path.startswith("."):
            text = "must be a simple json path starting with ."
            yield invalid(f"{here}.jsonPath", path, text)


def crd_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for field in ("group", "scope"):
        if after.get(field) != before.get(field):
            yield invalid(f"spec.{field}", after.get(field), "field is immutable")
    for field in ("kind", "plural"):
        one, other = ((spec.get("names") or {}).get(field) for spec in (after, before))
        if one != other:
            yield invalid(f"spec.names.{field}", one, "field is immutable")
    present = [version.get("name") for version in after.get("versions") or []]
    for index, stored in enumerate((old.get("status") or {}).get("storedVersions") or []):
        if stored not in present:
            yield invalid(f"status.storedVersions[{index}]", stored, "missing from spec.versions")
