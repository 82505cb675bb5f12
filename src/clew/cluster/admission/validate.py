"""Which rules hold for which kind, on creation and on change."""

from collections.abc import Callable, Iterator

from clew.api.kinds import (
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    CRD,
    DAEMON_SET,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    ENDPOINTS,
    NODE,
    POD,
    REPLICA_SET,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    Kind,
)
from clew.api.objects import Object
from clew.cluster.admission.field_errors import FieldError
from clew.cluster.admission.metadata import validate_metadata
from clew.cluster.admission.pods import pod_errors, pod_update_errors
from clew.cluster.admission.services import (
    endpoint_slice_errors,
    endpoint_slice_update_errors,
    endpoints_errors,
    service_errors,
    service_update_errors,
)
from clew.cluster.admission.small import (
    binding_errors,
    binding_update_errors,
    crd_errors,
    crd_update_errors,
    data_errors,
    data_update_errors,
    node_update_errors,
)
from clew.cluster.admission.workloads import workload_errors, workload_update_errors

Check = Callable[[Object], Iterator[FieldError]]
UpdateCheck = Callable[[Object, Object], Iterator[FieldError]]

_CHECKS: dict[Kind, Check] = {
    POD: pod_errors,
    SERVICE: service_errors,
    ENDPOINTS: endpoints_errors,
    ENDPOINT_SLICE: endpoint_slice_errors,
    DEPLOYMENT: workload_errors,
    REPLICA_SET: workload_errors,
    DAEMON_SET: workload_errors,
    CONFIG_MAP: data_errors,
    SECRET: data_errors,
    ROLE_BINDING: binding_errors,
    CLUSTER_ROLE_BINDING: binding_errors,
    CRD: crd_errors,
}
_UPDATES: dict[Kind, UpdateCheck] = {
    POD: pod_update_errors,
    SERVICE: service_update_errors,
    ENDPOINT_SLICE: endpoint_slice_update_errors,
    DEPLOYMENT: workload_update_errors,
    REPLICA_SET: workload_update_errors,
    DAEMON_SET: workload_update_errors,
    CONFIG_MAP: data_update_errors,
    SECRET: data_update_errors,
    NODE: node_update_errors,
    ROLE_BINDING: binding_update_errors,
    CLUSTER_ROLE_BINDING: binding_update_errors,
    CRD: crd_update_errors,
}


def validate_create(kind: Kind, obj: Object) -> list[FieldError]:
    """Everything that is wrong with a new object, metadata first; empty for a good one."""
    check = _CHECKS.get(kind)
    return [*validate_metadata(kind, obj, None), *(check(obj) if check else ())]


def validate_update(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """Everything that is wrong with a changed object, or with the change."""
    check = _UPDATES.get(kind)
    if kind == POD:  # its own rules refuse what its change may not touch
        return [*validate_metadata(kind, new, old), *pod_update_errors(new, old)]
    whole = _CHECKS.get(kind)
    return [
        *validate_metadata(kind, new, old),
        *(whole(new) if whole else ()),
        *(check(new, old) if check else ()),
    ]
