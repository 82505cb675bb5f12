"""Role-based access as a pure function over roles and bindings (rbac.authorization.k8s.io/v1).

`system:masters` passes; everybody else needs a rule. There are no rules that deny, so order is no matter.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from clew.api.objects import Object, labels
from clew.api.selectors import LabelSelector, SelectorError
from clew.base.value import Value

MASTERS = "system:masters"
Rules = Sequence[Object]


class Subject(Value):
    """Whose rights are asked about."""

    name: str
    groups: tuple[str, ...]


class Attributes(Value):
    """What is asked: a resource, or (with `path`) something that is none."""

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


class Policy:
    """All bindings as they are now, by whom they bind: `user NAME` or `group NAME` to (namespace or "", rules)."""

    def __init__(self, roles: Mapping[tuple[str, str], Rules], bindings: Iterable[tuple[str, Object]]) -> None:
        """`roles` by (namespace or "", name); `bindings` beside their namespace, "" for cluster-wide ones."""
        self.roles = roles
        self._grants: dict[str, list[tuple[str, Rules]]] = {}
        for namespace, binding in bindings:
            rules = self.referenced(namespace, binding.get("roleRef") or {})
            for subject in binding.get("subjects") or ():
                self._grants.setdefault(_holder(subject, namespace), []).append((namespace, rules))

    def referenced(self, namespace: str, reference: Object) -> Rules:
        """The rules that a binding in `namespace` refers to; none where the role does not exist."""
        where = "" if reference.get("kind") == "ClusterRole" else namespace
        return self.roles.get((where, reference.get("name", "")), ())

    def rules_for(self, who: Subject, namespace: str) -> Iterator[Object]:
        """The rules that hold for somebody in a namespace; those of cluster-wide bindings alone for ""."""
        for holder in (f"user {who.name}", *(f"group {group}" for group in who.groups)):
            for where, rules in self._grants.get(holder, ()):
                if not where or where == namespace:
                    yield from rules


def _holder(subject: Object, namespace: str) -> str:
    name = subject.get("name", "")
    match subject.get("kind"):
        case "User":
            return f"user {name}"
        case "Group":
            return f"group {name}"
        case "ServiceAccount":
            return f"user system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
    return ""


def _has(values: Sequence[str] | None, wanted: str) -> bool:
    return values is not None and (wanted in values or "*" in values)


def names_resource(values: Sequence[str] | None, wanted: str) -> bool:
    """Whether a rule's `resources` name `pods` or `pods/log`; `*/log` is any resource's log."""
    if _has(values, wanted):
        return True
    _, slash, part = wanted.partition("/")
    return bool(slash) and f"*/{part}" in (values or ())


def names_path(url: str, path: str) -> bool:
    """Whether a rule's nonResourceURL names a path; only a last `*` is a wildcard."""
    return url in {"*", path} or (url[-1:] == "*" and path.startswith(url[:-1]))


def rule_allows(rule: Object, asked: Attributes) -> bool:
    """One PolicyRule against one request."""
    if not _has(rule.get("verbs"), asked.verb):
        return False
    if asked.path:
        return any(names_path(url, asked.path) for url in rule.get("nonResourceURLs") or ())
    names = rule.get("resourceNames")
    return (
        _has(rule.get("apiGroups"), asked.group)
        and names_resource(rule.get("resources"), asked.full_resource)
        and (not names or asked.name in names)
    )


def allows(policy: Policy, who: Subject, asked: Attributes) -> bool:
    """Whether RBAC permits the request."""
    if MASTERS in who.groups:
        return True
    return any(rule_allows(rule, asked) for rule in policy.rules_for(who, asked.namespace))


def refusal_text(name: str, asked: Attributes) -> str:
    """The real server's words after `... is forbidden:`."""
    if asked.path:
        return f'User "{name}" cannot {asked.verb} path "{asked.path}"'
    text = f'User "{name}" cannot {asked.verb} resource "{asked.full_resource}" in API group "{asked.group}"'
    return f'{text} in the namespace "{asked.namespace}"' if asked.namespace else f"{text} at the cluster scope"


def aggregated(role: Object, roles: Iterable[Object]) -> list[Object] | None:
    """The rules that a ClusterRole's aggregationRule gathers by label; None for a role without one."""
    selectors: Any = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
    if selectors is None:
        return None
    name = role["metadata"]["name"]
    found: list[Object] = []
    for selector in selectors:
        try:
            wanted = LabelSelector.from_object(selector)
        except SelectorError:
            continue
        for other in sorted(roles, key=lambda each: str(each["metadata"]["name"])):
            if other["metadata"]["name"] != name and wanted.matches(labels(other)):
                found += [rule for rule in other.get("rules") or () if rule not in found]
    return found
