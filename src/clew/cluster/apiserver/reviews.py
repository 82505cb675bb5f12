"""Questions about oneself and others, answered without storing anything: access reviews, subject reviews, tokens."""

from collections.abc import Callable

from clew.api.kinds import (
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    TOKEN_REVIEW,
    Kind,
)
from clew.api.objects import Object
from clew.cluster.apiserver.access import Access
from clew.cluster.apiserver.errors import bad_request
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.rbac import MASTERS, Attributes, rules_for

Read = Callable[[str], Identity | None]


def user_info(who: Identity) -> Object:
    info: Object = {"username": who.name, "groups": list(who.groups)}
    if who.uid:
        info["uid"] = who.uid
    if who.extra:
        info["extra"] = {key: list(values) for key, values in who.extra}
    return info


def _attributes(spec: Object) -> Attributes:
    resource = spec.get("resourceAttributes")
    if resource:
        return Attributes(
            resource.get("verb", ""), resource.get("group", ""), resource.get("resource", ""),
            resource.get("subresource", ""), resource.get("namespace", ""), resource.get("name", ""),
        )  # fmt: skip
    path = spec.get("nonResourceAttributes")
    if path:
        return Attributes(path.get("verb", ""), path=path.get("path", ""))
    raise bad_request("spec: exactly one of resourceAttributes and nonResourceAttributes must be set")


def _access(access: Access, who: Identity, spec: Object) -> Object:
    allowed = access.allowed(who, _attributes(spec))
    return {"allowed": allowed, "reason": "RBAC: allowed" if allowed else ""}


def _rules(access: Access, who: Identity, namespace: str) -> Object:
    resources: list[Object] = []
    paths: list[Object] = []
    everything = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]
    for rule in everything if MASTERS in who.groups else rules_for(access.policy, who, namespace):
        if rule.get("nonResourceURLs"):
            paths.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
        else:
            kept = ("verbs", "apiGroups", "resources", "resourceNames")
            resources.append({key: rule[key] for key in kept if rule.get(key)})
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}


def review(kind: Kind, obj: Object, who: Identity, access: Access, read_token: Read) -> Object:
    """The review object with its status filled in."""
    spec = obj.get("spec") or {}
    answer: Object = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {"creationTimestamp": None}}
    if kind == SELF_SUBJECT_REVIEW:
        return answer | {"status": {"userInfo": user_info(who)}}
    answer["spec"] = spec
    if kind == SELF_SUBJECT_ACCESS_REVIEW:
        answer["status"] = _access(access, who, spec)
    elif kind in {SUBJECT_ACCESS_REVIEW, LOCAL_SUBJECT_ACCESS_REVIEW}:
        groups = tuple(spec.get("groups") or ())
        answer["status"] = _access(access, Identity(spec.get("user", ""), groups, spec.get("uid", "")), spec)
    elif kind == SELF_SUBJECT_RULES_REVIEW:
        if not spec.get("namespace"):
            raise bad_request("no namespace on request")
        answer["status"] = _rules(access, who, spec["namespace"])
    elif kind == TOKEN_REVIEW:
        found = read_token(spec.get("token") or "")
        answer["status"] = {"authenticated": True, "user": user_info(found)} if found else {"authenticated": False}
    return answer
