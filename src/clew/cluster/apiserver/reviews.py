"""Questions about oneself and others, answered without storing anything: access reviews, subject reviews, tokens."""

from collections.abc import Callable, Sequence

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
from clew.base.clock import Clock, rfc3339
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.access import Access
from clew.cluster.apiserver.errors import bad_request, invalid
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.rbac import MASTERS, Attributes

ReadToken = Callable[[str, Sequence[str]], tuple[Identity, tuple[str, ...]] | None]
_EVERYTHING = ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]})
_RULE_FIELDS = ("verbs", "apiGroups", "resources", "resourceNames")


class Reviews:
    """The create-only kinds of authentication.k8s.io and authorization.k8s.io."""

    def __init__(self, access: Access, read_token: ReadToken, clock: Clock) -> None:
        self.access = access
        self.read_token = read_token
        self.clock = clock

    def answer(self, kind: Kind, namespace: str, obj: Object, who: Identity) -> Object:
        """The review object with its status filled in; 422 for one that asks nothing."""
        spec = obj.get("spec") or {}
        made: Object = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {"creationTimestamp": None}}
        if kind == SELF_SUBJECT_REVIEW:
            made["metadata"]["creationTimestamp"] = rfc3339(self.clock.now())
            return made | {"status": {"userInfo": user_info(who)}}
        made["spec"] = spec
        if kind == SELF_SUBJECT_ACCESS_REVIEW:
            made["status"] = self._access(kind, who, spec)
        elif kind in {SUBJECT_ACCESS_REVIEW, LOCAL_SUBJECT_ACCESS_REVIEW}:
            made["status"] = self._access(kind, _subject(kind, namespace, spec), spec)
        elif kind == SELF_SUBJECT_RULES_REVIEW:
            made["status"] = self._rules(who, spec.get("namespace") or "")
        elif kind == TOKEN_REVIEW:
            made["status"] = self._token(spec)
        return made

    def _access(self, kind: Kind, who: Identity, spec: Object) -> Object:
        allowed = self.access.allowed(who, _attributes(kind, spec))
        return {"allowed": True, "reason": "RBAC: allowed"} if allowed else {"allowed": False}

    def _rules(self, who: Identity, namespace: str) -> Object:
        if not namespace:
            raise bad_request("no namespace on request")
        resources: list[Object] = []
        paths: list[Object] = []
        masters = MASTERS in who.groups
        for rule in _EVERYTHING if masters else self.access.policy.rules_for(who.subject, namespace):
            if rule.get("nonResourceURLs"):
                paths.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
            else:
                resources.append({key: rule[key] for key in _RULE_FIELDS if rule.get(key)})
        return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}

    def _token(self, spec: Object) -> Object:
        token = spec.get("token") or ""
        if not token:
            raise bad_request("token is required for TokenReview in authentication")
        found = self.read_token(token, spec.get("audiences") or ())
        if found is None:
            return {"user": {}, "error": "invalid bearer token"}
        who, audiences = found
        return {"authenticated": True, "user": user_info(who), "audiences": list(audiences)}


def user_info(who: Identity) -> Object:
    info: Object = {"username": who.name, "groups": list(who.groups)}
    if who.uid:
        info["uid"] = who.uid
    if who.extra:
        info["extra"] = {key: list(values) for key, values in who.extra}
    return info


def _subject(kind: Kind, namespace: str, spec: Object) -> Identity:
    """Whom a SubjectAccessReview is about."""
    wrong: list[FieldError] = []
    if not spec.get("user") and not spec.get("groups"):
        text = "at least one of user or group must be specified"
        wrong.append(FieldError("spec.user", "FieldValueInvalid", spec.get("user", ""), text))
    asked = (spec.get("resourceAttributes") or {}).get("namespace", "")
    if kind == LOCAL_SUBJECT_ACCESS_REVIEW and asked != namespace:
        text = f"must match metadata.namespace: {namespace}"
        wrong.append(FieldError("spec.resourceAttributes.namespace", "FieldValueInvalid", asked, text))
    if wrong:
        raise invalid(kind, "", wrong)
    return Identity(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""))


def _attributes(kind: Kind, spec: Object) -> Attributes:
    resource: Object = spec.get("resourceAttributes") or {}
    path: Object = spec.get("nonResourceAttributes") or {}
    if bool(resource) == bool(path):
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise invalid(kind, "", [FieldError("spec.resourceAttributes", "FieldValueInvalid", resource, text)])
    if path:
        return Attributes(path.get("verb", ""), path=path.get("path", ""))
    return Attributes(
        resource.get("verb", ""), resource.get("group", ""), resource.get("resource", ""),
        resource.get("subresource", ""), resource.get("namespace", ""), resource.get("name", ""),
    )  # fmt: skip
