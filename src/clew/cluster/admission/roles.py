"""The rules of RBAC's kinds: what a rule names, to whom a role is bound.

Source of rules and texts: k8s.io/kubernetes pkg/apis/rbac/validation.
"""

from collections.abc import Iterator

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import FieldError, each_invalid, invalid, required, unsupported
from clew.cluster.admission.pods.placement import selector_errors

RBAC = "rbac.authorization.k8s.io"
_SUBJECTS = ("Group", "ServiceAccount", "User")


def role_errors(obj: Object) -> Iterator[FieldError]:
    return _rules(obj, namespaced=True)


def cluster_role_errors(obj: Object) -> Iterator[FieldError]:
    yield from _rules(obj, namespaced=False)
    selectors = (obj.get("aggregationRule") or {}).get("clusterRoleSelectors")
    if obj.get("aggregationRule") is not None and not selectors:
        yield required("aggregationRule.clusterRoleSelectors", "at least one clusterRoleSelector required")
    for index, selector in enumerate(selectors or []):
        yield from selector_errors(selector, f"aggregationRule.clusterRoleSelectors[{index}]")


def _rules(obj: Object, *, namespaced: bool) -> Iterator[FieldError]:
    for index, rule in enumerate(obj.get("rules") or []):
        at = f"rules[{index}]"
        if not rule.get("verbs"):
            yield required(f"{at}.verbs", "verbs must contain at least one value")
        urls = rule.get("nonResourceURLs") or []
        if urls:
            if namespaced:
                text = "namespaced rules cannot apply to non-resource URLs"
                yield invalid(f"{at}.nonResourceURLs", urls, text)
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                text = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{at}.nonResourceURLs", urls, text)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{at}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{at}.resources", "resource rules must supply at least one resource")


def binding_errors(obj: Object) -> Iterator[FieldError]:
    return _binding(obj, ("ClusterRole", "Role"), namespaced=True)


def cluster_binding_errors(obj: Object) -> Iterator[FieldError]:
    return _binding(obj, ("ClusterRole",), namespaced=False)


def _binding(obj: Object, kinds: tuple[str, ...], *, namespaced: bool) -> Iterator[FieldError]:
    reference = obj.get("roleRef") or {}
    if reference.get("apiGroup") != RBAC:
        yield unsupported("roleRef.apiGroup", reference.get("apiGroup") or "", (RBAC,))
    if reference.get("kind") not in kinds:
        yield unsupported("roleRef.kind", reference.get("kind") or "", kinds)
    name = reference.get("name") or ""
    if not name:
        yield required("roleRef.name")
    else:
        yield from each_invalid("roleRef.name", name, names.path_segment(name))
    for index, subject in enumerate(obj.get("subjects") or []):
        yield from _subject(subject, f"subjects[{index}]", namespaced=namespaced)


def _subject(subject: Object, at: str, *, namespaced: bool) -> Iterator[FieldError]:
    kind, name, group = subject.get("kind") or "", subject.get("name") or "", subject.get("apiGroup") or ""
    if not name:
        yield required(f"{at}.name")
    if kind == "ServiceAccount":
        if name:
            yield from each_invalid(f"{at}.name", name, names.subdomain(name))
        if group:
            yield unsupported(f"{at}.apiGroup", group, ("",))
        if not namespaced and not subject.get("namespace"):
            yield required(f"{at}.namespace")
    elif kind in _SUBJECTS:
        if group != RBAC:
            yield unsupported(f"{at}.apiGroup", group, (RBAC,))
    else:
        yield unsupported(f"{at}.kind", kind, _SUBJECTS)


def binding_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    if new.get("roleRef") != old.get("roleRef"):
        yield invalid("roleRef", new.get("roleRef"), "cannot change roleRef")
