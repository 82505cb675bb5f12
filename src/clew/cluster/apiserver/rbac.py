"""Role-based access as a pure function over roles and bindings (rbac.authorization.k8s.io/v1).

`system:masters` passes; everybody else needs a rule. No deny rules exist, so order is no matter.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from clew.api.objects import Object
from clew.base.value import Value
from clew.cluster.apiserver.identity import Identity

MASTERS = "system:masters"


class Attributes(Value):
    """What is asked: a resource, or a path that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Policy(Value):
    """All roles and bindings as they are now."""

    roles: dict[tuple[str, str], Sequence[Object]]  # (namespace or "", name) -> rules
    bindings: Sequence[tuple[str, Object]]  # (namespace or "", binding)


def _covers(values: Sequence[str] | None, wanted: str) -> bool:
    return bool(values) and ("*" in values or wanted in values)  # type: ignore[operator]


def _resource(values: Sequence[str] | None, asked: Attributes) -> bool:
    if _covers(values, asked.full_resource):
        return True
    return bool(asked.subresource) and f"*/{asked.subresource}" in (values or ())


def rule_allows(rule: Object, asked: Attributes) -> bool:
    """One PolicyRule against one request."""
    if not _covers(rule.get("verbs"), asked.verb):
        return False
    if asked.path:
        urls = rule.get("nonResourceURLs") or ()
        return any(url in {"*", asked.path} or (url[-1:] == "*" and asked.path.startswith(url[:-1])) for url in urls)
    names = rule.get("resourceNames")
    return (
        _covers(rule.get("apiGroups"), asked.group)
        and _resource(rule.get("resources"), asked)
        and (not names or asked.name in names)
    )


def _subject_is(subject: Object, namespace: str, who: Identity) -> bool:
    match subject.get("kind"):
        case "User":
            return bool(subject.get("name") == who.name)
        case "Group":
            return subject.get("name") in who.groups
        case "ServiceAccount":
            where = subject.get("namespace") or namespace
            return who.name == f"system:serviceaccount:{where}:{subject.get('name')}"
    return False


def rules_for(policy: Policy, who: Identity, namespace: str) -> Iterator[Object]:
    """The rules that hold for somebody in a namespace; those of cluster-wide bindings for ""."""
    for where, binding in policy.bindings:
        if where and where != namespace:
            continue
        if any(_subject_is(subject, where, who) for subject in binding.get("subjects") or ()):
            ref: Any = binding.get("roleRef") or {}
            role = ("" if ref.get("kind") == "ClusterRole" else where, ref.get("name", ""))
            yield from policy.roles.get(role, ())


def allows(policy: Policy, who: Identity, asked: Attributes) -> bool:
    """Whether RBAC permits the request."""
    if MASTERS in who.groups:
        return True
    return any(rule_allows(rule, asked) for rule in rules_for(policy, who, asked.namespace))


def refusal_text(who: Identity, asked: Attributes) -> str:
    """The real server's words after `... is forbidden:`."""
    if asked.path:
        return f'User "{who.name}" cannot {asked.verb} path "{asked.path}"'
    text = f'User "{who.name}" cannot {asked.verb} resource "{asked.full_resource}" in API group "{asked.group}"'
    return f'{text} in the namespace "{asked.namespace}"' if asked.namespace else f"{text} at the cluster scope"


def aggregated(role: Object, roles: Iterable[Object]) -> Sequence[Object]:
    """A ClusterRole's rules, those of an aggregationRule gathered by label."""
    selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
    if not selectors:
        return role.get("rules") or ()
    found: list[Object] = []
    for other in roles:
        labels = other["metadata"].get("labels") or {}
        if other is not role and any(
            all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
            for selector in selectors
        ):
            found += other.get("rules") or ()
    return found
