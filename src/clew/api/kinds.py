"""The kinds that Clew's API server serves and its clients speak of: names, scope, verbs, subresources.

One table, read by discovery, routing, OpenAPI, RBAC and every client. A kind added here is served; what is
particular to it (defaults, validation, columns) lives in the room that owns that matter.
"""

from clew.base.value import Value

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE_ONLY = ("create",)


class Kind(Value):
    """One resource of the API, or a virtual one that can only be created (a review)."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def api_version(self) -> str:
        """`v1` or `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """`/api/v1` or `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of a collection (no name) or an object; no namespace means all of them."""
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{self.prefix}{scope}/{self.plural}{tail}"


NAMESPACE = Kind("", "v1", "Namespace", "namespaces", False, ("ns",), subresources=("status", "finalize"))
POD = Kind(
    "", "v1", "Pod", "pods", True, ("po",), ("all",),
    ("attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "status"),
)  # fmt: skip
SERVICE = Kind("", "v1", "Service", "services", True, ("svc",), ("all",), ("proxy", "status"))
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", True, ("ep",))
NODE = Kind("", "v1", "Node", "nodes", False, ("no",), subresources=("status",))
EVENT = Kind("", "v1", "Event", "events", True, ("ev",))
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", True, ("cm",))
SECRET = Kind("", "v1", "Secret", "secrets", True)
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts", True, ("sa",), subresources=("token",))
DEPLOYMENT = Kind(
    "apps", "v1", "Deployment", "deployments", True, ("deploy",), ("all",), ("scale", "status")
)  # fmt: skip
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets", True, ("rs",), ("all",), ("scale", "status"))
DAEMON_SET = Kind("apps", "v1", "DaemonSet", "daemonsets", True, ("ds",), ("all",), ("status",))
CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision", "controllerrevisions", True)
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True)
EVENTS_EVENT = Kind("events.k8s.io", "v1", "Event", "events", True, ("ev",))
SERVICE_CIDR = Kind("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", False, subresources=("status",))
IP_ADDRESS = Kind("networking.k8s.io", "v1", "IPAddress", "ipaddresses", False, ("ip",))
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", True)
ROLE = Kind("rbac.authorization.k8s.io", "v1", "Role", "roles", True)
ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", True)
CLUSTER_ROLE = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False)
CLUSTER_ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False)
CRD = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False,
    ("crd", "crds"), ("api-extensions",), ("status",),
)  # fmt: skip
SCALE = Kind("autoscaling", "v1", "Scale", "scales", True)  # only as a subresource
SELF_SUBJECT_REVIEW = Kind(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", False, verbs=CREATE_ONLY
)
TOKEN_REVIEW = Kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", False, verbs=CREATE_ONLY)
SELF_SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False, verbs=CREATE_ONLY
)
SELF_SUBJECT_RULES_REVIEW = Kind(
    "authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", False, verbs=CREATE_ONLY
)
SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", False, verbs=CREATE_ONLY
)
LOCAL_SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", True, verbs=CREATE_ONLY
)

KINDS: tuple[Kind, ...] = (
    CONFIG_MAP, ENDPOINTS, EVENT, NAMESPACE, NODE, POD, SECRET, SERVICE_ACCOUNT, SERVICE,
    CONTROLLER_REVISION, DAEMON_SET, DEPLOYMENT, REPLICA_SET,
    CRD, SELF_SUBJECT_REVIEW, TOKEN_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_RULES_REVIEW, SUBJECT_ACCESS_REVIEW,
    LEASE, ENDPOINT_SLICE, EVENTS_EVENT, IP_ADDRESS, SERVICE_CIDR,
    CLUSTER_ROLE_BINDING, CLUSTER_ROLE, ROLE_BINDING, ROLE,
)  # fmt: skip

# Custom kinds that parts of Clew read and write: served only where their definitions are, so not in KINDS.
CALICO = "projectcalico.org"
IP_POOL = Kind(CALICO, "v3", "IPPool", "ippools", False, subresources=("status",))
IPAM_BLOCK = Kind(CALICO, "v3", "IPAMBlock", "ipamblocks", False)
IP_RESERVATION = Kind(CALICO, "v3", "IPReservation", "ipreservations", False)
IPAM_CONFIGURATION = Kind(CALICO, "v3", "IPAMConfiguration", "ipamconfigurations", False)
