"""Permission on every request: the stored roles and bindings, gathered again only when one of them changed."""

from clew.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, Kind
from clew.api.objects import Object
from clew.cluster.apiserver import escalation
from clew.cluster.apiserver.catalog import storage_name
from clew.cluster.apiserver.errors import ApiRefusal, forbidden, not_found
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.rbac import MASTERS, Attributes, Policy, aggregated, allows, refusal_text
from clew.cluster.apiserver.state import State

_KINDS = (ROLE, CLUSTER_ROLE, ROLE_BINDING, CLUSTER_ROLE_BINDING)
_GROUP = "rbac.authorization.k8s.io"
_EVERYTHING = ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]})


class Access:
    """Asked by the server for every request, by the registry for writes of roles and bindings."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._collections = [state.storage.collection(storage_name(kind)) for kind in _KINDS]
        self._policy = Policy({}, ())
        self._seen: tuple[int, ...] = ()

    @property
    def policy(self) -> Policy:
        seen = tuple([collection.changed for collection in self._collections])
        if seen != self._seen:
            self._policy, self._seen = self._gather(), seen
        return self._policy

    def _gather(self) -> Policy:
        cluster_roles = self.state.objects(CLUSTER_ROLE)
        roles: dict[tuple[str, str], list[Object]] = {}
        for role in cluster_roles:
            gathered = aggregated(role, cluster_roles)
            roles["", role["metadata"]["name"]] = (role.get("rules") or []) if gathered is None else gathered
        for role in self.state.objects(ROLE):
            roles[role["metadata"]["namespace"], role["metadata"]["name"]] = role.get("rules") or []
        bindings = [
            (binding["metadata"].get("namespace", ""), binding)
            for kind in (ROLE_BINDING, CLUSTER_ROLE_BINDING)
            for binding in self.state.objects(kind)
        ]
        return Policy(roles, bindings)

    def allowed(self, who: Identity, asked: Attributes) -> bool:
        return allows(self.policy, who.subject, asked)

    def check(self, who: Identity, asked: Attributes) -> None:
        """403 with the real server's words where it is not permitted."""
        if self.allowed(who, asked):
            return
        text = refusal_text(who.name, asked)
        if asked.path:
            raise ApiRefusal(403, "Forbidden", f"forbidden: {text}", {})
        qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
        details = {"name": asked.name, "group": asked.group, "kind": asked.resource}
        name = f' "{asked.name}"' if asked.name else ""
        kept = {key: value for key, value in details.items() if value}
        raise ApiRefusal(403, "Forbidden", f"{qualified}{name} is forbidden: {text}", kept)

    def check_create(self, kind: Kind, namespace: str, name: str, who: Identity) -> None:
        """A PUT or an apply that makes the object needs the right to create as well."""
        where = namespace if kind.namespaced else ""
        self.check(who, Attributes("create", kind.group, kind.plural, "", where, name))

    def check_grant(self, kind: Kind, obj: Object, old: Object | None, who: Identity) -> None:
        """Before a role or binding is written: 403 where it would give rights that its writer does not hold."""
        if kind not in _KINDS or MASTERS in who.groups:
            return
        if kind in {ROLE, CLUSTER_ROLE}:
            self._check_role(kind, obj, old, who)
        else:
            self._check_binding(kind, obj, old, who)

    def _check_role(self, kind: Kind, obj: Object, old: Object | None, who: Identity) -> None:
        if old is not None and all(old.get(field) == obj.get(field) for field in ("rules", "aggregationRule")):
            return
        meta = obj["metadata"]
        namespace, name = meta.get("namespace", ""), meta["name"]
        if self.allowed(who, Attributes("escalate", _GROUP, kind.plural, "", namespace, name)):
            return
        held = self.policy.rules_for(who.subject, namespace)
        wanted = _EVERYTHING if obj.get("aggregationRule") else obj.get("rules") or ()
        lacking = escalation.missing(held, wanted)
        if lacking and obj.get("aggregationRule"):
            raise forbidden(kind, name, "must have cluster-admin privileges to use the aggregationRule")
        if lacking:
            raise forbidden(kind, name, escalation.refusal_text(who.name, who.groups, lacking))

    def _check_binding(self, kind: Kind, obj: Object, old: Object | None, who: Identity) -> None:
        if old is not None and all(old.get(field) == obj.get(field) for field in ("subjects", "roleRef")):
            return
        meta, reference = obj["metadata"], obj.get("roleRef") or {}
        namespace = meta.get("namespace", "")
        to_cluster_role = reference.get("kind") == "ClusterRole"
        role = CLUSTER_ROLE if to_cluster_role else ROLE
        if self.allowed(who, Attributes("bind", _GROUP, role.plural, "", namespace, reference.get("name", ""))):
            return
        if ("" if to_cluster_role else namespace, reference.get("name", "")) not in self.policy.roles:
            raise not_found(role, reference.get("name", ""))
        wanted = self.policy.referenced(namespace, reference)
        lacking = escalation.missing(self.policy.rules_for(who.subject, namespace), wanted)
        if lacking:
            raise forbidden(kind, meta["name"], escalation.refusal_text(who.name, who.groups, lacking))
