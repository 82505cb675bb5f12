"""Permission on every request: the stored roles and bindings, gathered again only when one of them changed."""

from clew.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from clew.cluster.apiserver.catalog import storage_name
from clew.cluster.apiserver.errors import ApiRefusal
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.rbac import Attributes, Policy, aggregated, allows, refusal_text
from clew.cluster.apiserver.state import State

_KINDS = (ROLE, CLUSTER_ROLE, ROLE_BINDING, CLUSTER_ROLE_BINDING)


class Access:
    def __init__(self, state: State) -> None:
        self.state = state
        self._policy = Policy({}, ())
        self._seen: tuple[int, ...] = ()

    @property
    def policy(self) -> Policy:
        seen = tuple(self.state.storage.collection(storage_name(kind)).changed for kind in _KINDS)
        if seen != self._seen:
            self._policy, self._seen = self._gather(), seen
        return self._policy

    def _gather(self) -> Policy:
        cluster_roles = self.state.objects(CLUSTER_ROLE)
        roles = {("", role["metadata"]["name"]): aggregated(role, cluster_roles) for role in cluster_roles}
        for role in self.state.objects(ROLE):
            roles[role["metadata"]["namespace"], role["metadata"]["name"]] = role.get("rules") or ()
        bindings = [
            (binding["metadata"].get("namespace", ""), binding)
            for kind in (ROLE_BINDING, CLUSTER_ROLE_BINDING)
            for binding in self.state.objects(kind)
        ]
        return Policy(roles, tuple(bindings))

    def allowed(self, who: Identity, asked: Attributes) -> bool:
        return allows(self.policy, who, asked)

    def check(self, who: Identity, asked: Attributes) -> None:
        """403 with the real server's words where it is not permitted."""
        if self.allowed(who, asked):
            return
        text = refusal_text(who, asked)
        if asked.path:
            raise ApiRefusal(403, "Forbidden", f"forbidden: {text}", {})
        qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
        name = f' "{asked.name}"' if asked.name else ""
        details = {"kind": asked.resource}
        if asked.name:
            details["name"] = asked.name
        if asked.group:
            details["group"] = asked.group
        raise ApiRefusal(403, "Forbidden", f"{qualified}{name} is forbidden: {text}", details)
