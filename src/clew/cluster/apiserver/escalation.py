"""Nobody grants what they do not hold: the check on every write of a role or a binding (rbac's `escalate` and `bind`).

Pure but for the policy it reads. The text is the real server's, missing rules in their compact form.
"""

from collections.abc import Iterable, Iterator

from clew.api.objects import Object
from clew.cluster.apiserver.rbac import Rules, names_path, names_resource

_FIELDS = ("APIGroups", "Resources", "NonResourceURLs", "ResourceNames", "Verbs")
_KEYS = ("apiGroups", "resources", "nonResourceURLs", "resourceNames", "verbs")


def broken_down(rules: Rules) -> Iterator[Object]:
    """The rules as single permissions: one group, resource, name and verb (or one path and verb) each."""
    for rule in rules:
        verbs = rule.get("verbs") or ()
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                for verb in verbs:
                    one: Object = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                    names = rule.get("resourceNames") or ()
                    yield from ({**one, "resourceNames": [name]} for name in names) if names else (one,)
        for url in rule.get("nonResourceURLs") or ():
            yield from ({"nonResourceURLs": [url], "verbs": [verb]} for verb in verbs)


def _holds(rule: Object, one: Object) -> bool:
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and one["verbs"][0] not in verbs:
        return False
    if "nonResourceURLs" in one:
        return any(names_path(url, one["nonResourceURLs"][0]) for url in rule.get("nonResourceURLs") or ())
    groups = rule.get("apiGroups") or ()
    if "*" not in groups and one["apiGroups"][0] not in groups:
        return False
    names = rule.get("resourceNames") or ()
    if names and not set(one.get("resourceNames") or ("",)) <= set(names):
        return False
    return names_resource(rule.get("resources"), one["resources"][0])


def missing(held: Iterable[Object], wanted: Rules) -> list[Object]:
    """The single permissions of `wanted` that no rule of `held` gives."""
    owned = list(held)
    return [one for one in broken_down(wanted) if not any(_holds(rule, one) for rule in owned)]


def compact(permissions: Iterable[Object]) -> list[Object]:
    """Single permissions that differ only by their verb, joined."""
    joined: dict[str, Object] = {}
    for one in permissions:
        key = repr([one.get(field) for field in _KEYS[:-1]])
        if key in joined:
            joined[key]["verbs"] = [*joined[key]["verbs"], *one["verbs"]]
        else:
            joined[key] = dict(one)
    return list(joined.values())


def described(rule: Object) -> str:
    """`{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`."""
    parts = [
        f"{label}:{_go_list(rule[key])}" for label, key in zip(_FIELDS, _KEYS, strict=True) if rule.get(key) is not None
    ]
    return "{" + ", ".join(parts) + "}"


def _go_list(values: Iterable[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def refusal_text(name: str, groups: Iterable[str], lacking: Iterable[Object]) -> str:
    listed = "\n".join(sorted(described(rule) for rule in compact(lacking)))
    held = f'user "{name}" (groups={_go_list(groups)})'
    return f"{held} is attempting to grant RBAC permissions not currently held:\n{listed}"
