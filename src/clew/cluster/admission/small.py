"""The rules of the kinds that have few: ConfigMaps, Secrets, nodes, role bindings, CustomResourceDefinitions."""

import base64
import binascii
from collections.abc import Iterator

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import FieldError, forbidden, invalid, required, unsupported

_MOST_DATA = 1 << 20  # bytes


def data_errors(obj: Object) -> Iterator[FieldError]:
    """ConfigMap and Secret."""
    size = 0
    for field in ("data", "binaryData"):
        for key, value in (obj.get(field) or {}).items():
            size += len(value or "")
            if not names.is_config_key(key):
                yield invalid(f"{field}[{key}]", key, names.KEY_TEXT)
            if obj.get("kind") == "Secret" or field == "binaryData":
                yield from _base64(value, f"{field}[{key}]")
    for key in (obj.get("data") or {}).keys() & (obj.get("binaryData") or {}).keys():
        yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    if size > _MOST_DATA * 4 // 3:
        yield FieldError("data", "FieldValueTooLong", None, f"may not be more than {_MOST_DATA} bytes")


def _base64(value: object, at: str) -> Iterator[FieldError]:
    try:
        base64.b64decode(str(value or ""), validate=True)
    except binascii.Error:
        yield invalid(at, value, "must be base64 encoded")


def data_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    if old.get("immutable"):
        if not new.get("immutable"):
            yield forbidden("immutable", "field is immutable when `immutable` is set")
        for field in ("data", "binaryData"):
            if new.get(field) != old.get(field):
                yield forbidden(field, "field is immutable when `immutable` is set")
    if new.get("kind") == "Secret" and new.get("type") != old.get("type"):
        yield invalid("type", new.get("type"), "field is immutable")


def node_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    before = (old.get("spec") or {}).get("podCIDRs")
    if before and (new.get("spec") or {}).get("podCIDRs") != before:
        yield forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')


def binding_errors(obj: Object) -> Iterator[FieldError]:
    reference = obj.get("roleRef") or {}
    if reference.get("kind") not in {"ClusterRole", "Role"}:
        yield unsupported("roleRef.kind", reference.get("kind") or "", ("ClusterRole", "Role"))
    if not reference.get("name"):
        yield required("roleRef.name")
    for index, subject in enumerate(obj.get("subjects") or []):
        at = f"subjects[{index}]"
        if subject.get("kind") not in {"Group", "ServiceAccount", "User"}:
            yield unsupported(f"{at}.kind", subject.get("kind") or "", ("Group", "ServiceAccount", "User"))
        if not subject.get("name"):
            yield required(f"{at}.name")
        if (
            subject.get("kind") == "ServiceAccount"
            and not subject.get("namespace")
            and obj["kind"] == "ClusterRoleBinding"
        ):
            yield required(f"{at}.namespace")


def binding_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    if new.get("roleRef") != old.get("roleRef"):
        yield invalid("roleRef", new.get("roleRef"), "cannot change roleRef")


def crd_errors(crd: Object) -> Iterator[FieldError]:
    spec = crd.get("spec") or {}
    given = spec.get("names") or {}
    for field in ("plural", "kind"):
        if not given.get(field):
            yield required(f"spec.names.{field}")
    if not names.is_subdomain(spec.get("group") or "") or "." not in (spec.get("group") or ""):
        yield invalid("spec.group", spec.get("group"), "should be a domain with at least one dot")
    wanted = f"{given.get('plural')}.{spec.get('group')}"
    if crd["metadata"].get("name") != wanted:
        yield invalid("metadata.name", crd["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group')
    if spec.get("scope") not in {"Cluster", "Namespaced"}:
        yield unsupported("spec.scope", spec.get("scope") or "", ("Cluster", "Namespaced"))
    versions = spec.get("versions") or []
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield invalid(
            "spec.versions",
            [each.get("name") for each in versions],
            "must have exactly one version marked as storage version",
        )
    for index, version in enumerate(versions):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        at = f"spec.versions[{index}].schema.openAPIV3Schema"
        if not schema:
            yield required(at, "schemas are required")
        elif schema.get("type") != "object":
            yield invalid(f"{at}.type", schema.get("type"), 'must be "object" at the root')


def crd_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    for field in ("group", "scope"):
        if new["spec"].get(field) != old["spec"].get(field):
            yield invalid(f"spec.{field}", new["spec"].get(field), "field is immutable")
