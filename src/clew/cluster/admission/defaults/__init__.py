"""The defaults that kube-apiserver fills in, kind by kind, in place.

Source: k8s.io/kubernetes pkg/apis/*/v1/defaults.go. What depends on the rest of the cluster (addresses, node ports,
service accounts) is filled by the API server.
"""

from collections.abc import Callable

from clew.api import kinds as k
from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.api.schema import tidy
from clew.cluster.admission.defaults import others, pods, services, workloads
from clew.cluster.admission.defaults.pods import qos_class

__all__ = ["apply_defaults", "qos_class"]

_BY_KIND: dict[Kind, Callable[[Object], None]] = {
    k.POD: pods.pod, k.DEPLOYMENT: workloads.deployment, k.REPLICA_SET: workloads.replica_set,
    k.DAEMON_SET: workloads.daemon_set, k.SERVICE: services.service, k.ENDPOINTS: services.endpoints,
    k.ENDPOINT_SLICE: services.endpoint_slice, k.NAMESPACE: others.namespace, k.NODE: others.node,
    k.SECRET: others.secret, k.ROLE_BINDING: others.role_binding, k.CLUSTER_ROLE_BINDING: others.role_binding,
    k.CRD: others.definition, k.EVENT: others.event,
}  # fmt: skip


def apply_defaults(kind: Kind, obj: Object) -> None:
    """What decoding and defaulting do, in place: nulls vanish, quantities become canonical, absent fields are filled.

    Filling twice changes nothing more. The object's values are of the right types: whoever reads or makes one has asked
    `decode_problems`.
    """
    fill = _BY_KIND.get(kind)
    tidy(kind, obj)
    if fill is not None:
        fill(obj)
