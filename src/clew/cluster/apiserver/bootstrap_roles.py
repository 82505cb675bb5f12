"""The default ClusterRoles and their bindings, as data.

Names and intent are those of kube-apiserver's RBAC defaults. The node, scheduler and controller roles are for the
parts of a cluster that run beside the server; parts that run in pods bring roles of their own with their manifests.
"""

from clew.api.objects import Object

READ = ("get", "list", "watch")
WRITE = ("create", "delete", "deletecollection", "patch", "update")
_RBAC = "rbac.authorization.k8s.io"
_TO_ADMIN = {f"{_RBAC}/aggregate-to-admin": "true"}
_TO_EDIT = {f"{_RBAC}/aggregate-to-edit": "true"}
_TO_VIEW = {f"{_RBAC}/aggregate-to-view": "true"}
_PUBLIC = "/healthz /livez /readyz /version /version/"
_DISCOVERY = f"/api /api/* /apis /apis/* /openapi /openapi/* {_PUBLIC}"
_APPS = "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"


def _rule(groups: str, resources: str, *verbs: str) -> Object:
    """Groups and resources parted by blanks; `core` is the group without a name."""
    named = ["" if group == "core" else group for group in groups.split()]
    return {"apiGroups": named, "resources": resources.split(), "verbs": list(verbs)}


def _paths(urls: str) -> Object:
    return {"nonResourceURLs": urls.split(), "verbs": ["get"]}


_EVENTS = _rule("core events.k8s.io", "events", "create", "patch", "update")
_LEASES = _rule("coordination.k8s.io", "leases", "create", "delete", "get", "list", "patch", "update", "watch")

_VIEW = [
    _rule(
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers"
        " replicationcontrollers/scale serviceaccounts services services/status",
        *READ,
    ),
    _rule(
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status"
        " resourcequotas resourcequotas/status",
        *READ,
    ),
    _rule("core", "namespaces", *READ),
    _rule("events.k8s.io", "events", *READ),
    _rule("discovery.k8s.io", "endpointslices", *READ),
    _rule(
        "apps",
        f"controllerrevisions {_APPS} daemonsets/status deployments/status replicasets/status statefulsets/status",
        *READ,
    ),
    _rule("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", *READ),
    _rule("batch", "cronjobs cronjobs/status jobs jobs/status", *READ),
    _rule("policy", "poddisruptionbudgets poddisruptionbudgets/status", *READ),
    _rule("networking.k8s.io", "ingresses ingresses/status networkpolicies", *READ),
]
_EDIT = [
    _rule("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", *READ),
    _rule("core", "serviceaccounts", "impersonate"),
    _rule("core", "pods pods/attach pods/exec pods/portforward pods/proxy", *WRITE),
    _rule("core", "pods/eviction serviceaccounts/token", "create"),
    _rule(
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets"
        " serviceaccounts services services/proxy",
        *WRITE,
    ),
    _rule("apps", f"{_APPS} deployments/rollback", *WRITE),
    _rule("autoscaling", "horizontalpodautoscalers", *WRITE),
    _rule("batch", "cronjobs jobs", *WRITE),
    _rule("policy", "poddisruptionbudgets", *WRITE),
    _rule("networking.k8s.io", "ingresses networkpolicies", *WRITE),
    _rule("coordination.k8s.io", "leases", *READ, *WRITE),
]
_ADMIN = [
    _rule("authorization.k8s.io", "localsubjectaccessreviews", "create"),
    _rule(_RBAC, "roles rolebindings", *READ, *WRITE),
]
_NODE = [
    _rule("core", "nodes", "create", "get", "list", "patch", "update", "watch"),
    _rule("core", "nodes/status", "patch", "update"),
    _rule("core", "pods", *READ, "create", "delete"),
    _rule("core", "pods/eviction", "create"),
    _rule("core", "pods/status", "patch", "update"),
    _rule("core", "configmaps secrets services serviceaccounts namespaces", *READ),
    _rule("core", "serviceaccounts/token", "create"),
    _rule("authentication.k8s.io", "tokenreviews", "create"),
    _rule("authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews", "create"),
    _EVENTS,
    _LEASES,
]
_SCHEDULER = [
    _rule("core", "nodes namespaces services replicationcontrollers persistentvolumeclaims persistentvolumes", *READ),
    _rule("apps", "replicasets daemonsets deployments statefulsets", *READ),
    _rule("policy", "poddisruptionbudgets", *READ),
    _rule("core", "pods", *READ, "delete"),
    _rule("core", "pods/binding bindings", "create"),
    _rule("core", "pods/status", "patch", "update"),
    _EVENTS,
    _LEASES,
]
# The garbage collector and the namespace controller delete objects of every kind, custom ones included.
_CONTROLLERS = [
    _rule("*", "*", *READ, "delete", "deletecollection", "patch", "update"),
    _rule("core", "configmaps endpoints events pods secrets serviceaccounts", "create"),
    _rule("core", "serviceaccounts/token pods/eviction", "create"),
    _rule("apps", "controllerrevisions replicasets", "create"),
    _rule("batch", "jobs", "create"),
    _rule("discovery.k8s.io", "endpointslices", "create"),
    _EVENTS,
    _LEASES,
    _paths(_DISCOVERY),
]

ROLES: tuple[Object, ...] = (
    {"name": "cluster-admin", "rules": [_rule("*", "*", "*"), {"nonResourceURLs": ["*"], "verbs": ["*"]}]},
    {"name": "system:discovery", "rules": [_paths(_DISCOVERY)]},
    {"name": "system:public-info-viewer", "rules": [_paths(_PUBLIC)]},
    {
        "name": "system:basic-user",
        "rules": [
            _rule("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
            _rule("authentication.k8s.io", "selfsubjectreviews", "create"),
        ],
    },
    {"name": "view", "aggregate": "view", "labels": _TO_EDIT},
    {"name": "edit", "aggregate": "edit", "labels": _TO_ADMIN},
    {"name": "admin", "aggregate": "admin"},
    {"name": "system:aggregate-to-view", "labels": _TO_VIEW, "rules": _VIEW},
    {"name": "system:aggregate-to-edit", "labels": _TO_EDIT, "rules": _EDIT},
    {"name": "system:aggregate-to-admin", "labels": _TO_ADMIN, "rules": _ADMIN},
    {"name": "system:node", "rules": _NODE},
    {
        "name": "system:node-proxier",
        "rules": [
            _rule("core", "services endpoints", "list", "watch"),
            _rule("core", "nodes", *READ),
            _rule("discovery.k8s.io", "endpointslices", "list", "watch"),
            _EVENTS,
        ],
    },
    {"name": "system:kube-scheduler", "rules": _SCHEDULER},
    {"name": "system:kube-controller-manager", "rules": _CONTROLLERS},
    {
        "name": "system:auth-delegator",
        "rules": [
            _rule("authentication.k8s.io", "tokenreviews", "create"),
            _rule("authorization.k8s.io", "subjectaccessreviews", "create"),
        ],
    },
    {
        "name": "system:service-account-issuer-discovery",
        "rules": [_paths("/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks")],
    },
)

# role, kind of subject, subject
BINDINGS: tuple[tuple[str, str, str], ...] = (
    ("cluster-admin", "Group", "system:masters"),
    ("system:discovery", "Group", "system:authenticated"),
    ("system:basic-user", "Group", "system:authenticated"),
    ("system:public-info-viewer", "Group", "system:authenticated"),
    ("system:node", "Group", "system:nodes"),
    ("system:node-proxier", "User", "system:kube-proxy"),
    ("system:kube-scheduler", "User", "system:kube-scheduler"),
    ("system:kube-controller-manager", "User", "system:kube-controller-manager"),
    ("system:service-account-issuer-discovery", "Group", "system:serviceaccounts"),
)
