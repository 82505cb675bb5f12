"""The default ClusterRoles and their bindings, as data.

Names and intent are those of kube-apiserver's RBAC defaults; rules are for the kinds that are
served here. Parts of Clew that run in pods bring roles of their own with the manifests.
"""

from clew.api.objects import Object

READ = ["get", "list", "watch"]
WRITE = ["create", "delete", "deletecollection", "patch", "update"]
ALL = ["*"]
_TO_ADMIN = {"rbac.authorization.k8s.io/aggregate-to-admin": "true"}
_TO_EDIT = {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}
_TO_VIEW = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
_DISCOVERY = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
]
_PUBLIC = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_WORKLOADS = [
    "daemonsets",
    "deployments",
    "deployments/scale",
    "replicasets",
    "replicasets/scale",
    "controllerrevisions",
]
_VIEWED = [
    "configmaps",
    "endpoints",
    "pods",
    "pods/status",
    "pods/log",
    "serviceaccounts",
    "services",
    "services/status",
    "events",
    "namespaces",
]
_EDITED = ["configmaps", "endpoints", "pods", "secrets", "serviceaccounts", "services", "events"]


def _rule(groups: str, resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": groups.split(","), "resources": resources, "verbs": verbs}


def _paths(urls: list[str]) -> Object:
    return {"nonResourceURLs": urls, "verbs": ["get"]}


_EVENTS = _rule(",events.k8s.io", ["events"], ["create", "patch", "update"])
_LEASES = _rule("coordination.k8s.io", ["leases"], ["create", "delete", "get", "list", "patch", "update", "watch"])
_REVIEW_SELF = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]

ROLES: tuple[Object, ...] = (
    {"name": "cluster-admin", "rules": [_rule("*", ALL, ALL), {"nonResourceURLs": ["*"], "verbs": ["*"]}]},
    {"name": "system:discovery", "rules": [_paths(_DISCOVERY)]},
    {"name": "system:public-info-viewer", "rules": [_paths(_PUBLIC)]},
    {
        "name": "system:basic-user",
        "rules": [
            _rule("authorization.k8s.io", _REVIEW_SELF, ["create"]),
            _rule("authentication.k8s.io", ["selfsubjectreviews"], ["create"]),
        ],
    },
    {"name": "view", "aggregate": "view", "labels": _TO_EDIT},
    {"name": "edit", "aggregate": "edit", "labels": _TO_ADMIN},
    {"name": "admin", "aggregate": "admin"},
    {
        "name": "system:aggregate-to-view", "labels": _TO_VIEW,
        "rules": [
            _rule("", _VIEWED, READ),
            _rule("apps", _WORKLOADS, READ),
            _rule("discovery.k8s.io", ["endpointslices"], READ),
        ],
    },
    {
        "name": "system:aggregate-to-edit", "labels": _TO_EDIT,
        "rules": [
            _rule("", ["pods/attach", "pods/exec", "pods/portforward", "secrets"], READ),
            _rule("", [*_EDITED, "pods/attach", "pods/exec", "pods/portforward", "pods/eviction"], WRITE),
            _rule("", ["serviceaccounts/token"], ["create"]),
            _rule("apps", _WORKLOADS, WRITE),
        ],
    },
    {
        "name": "system:aggregate-to-admin", "labels": _TO_ADMIN,
        "rules": [
            _rule("rbac.authorization.k8s.io", ["roles", "rolebindings"], [*READ, *WRITE]),
            _rule("authorization.k8s.io", ["localsubjectaccessreviews"], ["create"]),
        ],
    },
    {
        "name": "system:node",
        "rules": [
            _rule("", ["nodes"], ["create", "get", "list", "patch", "update", "watch"]),
            _rule("", ["nodes/status"], ["patch", "update"]),
            _rule("", ["pods"], ["get", "list", "watch", "delete"]),
            _rule("", ["pods/status"], ["patch", "update"]),
            _rule("", ["configmaps", "secrets", "services", "serviceaccounts", "namespaces"], READ),
            _rule("", ["serviceaccounts/token"], ["create"]),
            _rule("authentication.k8s.io", ["tokenreviews"], ["create"]),
            _rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
            _EVENTS, _LEASES,
        ],
    },
    {
        "name": "system:kube-scheduler",
        "rules": [
            _rule("", ["nodes", "namespaces", "services", "replicationcontrollers"], READ),
            _rule("apps", ["replicasets", "daemonsets", "deployments"], READ),
            _rule("", ["pods"], [*READ, "delete"]),
            _rule("", ["pods/binding", "bindings"], ["create"]),
            _rule("", ["pods/status"], ["patch", "update"]),
            _EVENTS, _LEASES,
        ],
    },
    {
        "name": "system:kube-controller-manager",
        # the garbage collector and the namespace controller delete objects of every kind, custom ones included
        "rules": [
            _rule("*", ALL, [*READ, "delete", "deletecollection", "patch", "update"]),
            _rule("", ["configmaps", "endpoints", "events", "pods", "secrets", "serviceaccounts"], ["create"]),
            _rule("", ["serviceaccounts/token", "pods/eviction"], ["create"]),
            _rule("apps", ["controllerrevisions", "replicasets"], ["create"]),
            _rule("discovery.k8s.io", ["endpointslices"], ["create"]),
            _EVENTS, _LEASES,
            _paths(_DISCOVERY),
        ],
    },
)  # fmt: skip

# role, kind of subject, subject
BINDINGS: tuple[tuple[str, str, str], ...] = (
    ("cluster-admin", "Group", "system:masters"),
    ("system:discovery", "Group", "system:authenticated"),
    ("system:basic-user", "Group", "system:authenticated"),
    ("system:public-info-viewer", "Group", "system:authenticated"),
    ("system:node", "Group", "system:nodes"),
    ("system:kube-scheduler", "User", "system:kube-scheduler"),
    ("system:kube-controller-manager", "User", "system:kube-controller-manager"),
)
