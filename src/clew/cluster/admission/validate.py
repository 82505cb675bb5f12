"""Which rules hold for which kind, on creation and on change.

Values are of the right types: whoever reads or makes an object has asked `schema.decode_problems`.
"""

from collections.abc import Callable, Iterator

from clew.api import kinds as k
from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.cluster.admission import (
    addresses,
    cluster_kinds,
    data,
    definitions,
    endpoints,
    pods,
    roles,
    service_status,
    service_warnings,
    services,
    workloads,
)
from clew.cluster.admission.field_errors import FieldError
from clew.cluster.admission.metadata import validate_metadata

Check = Callable[[Object], Iterator[FieldError]]
UpdateCheck = Callable[[Object, Object], Iterator[FieldError]]

_CHECKS: dict[Kind, Check] = {
    k.POD: pods.pod_errors,
    k.SERVICE: services.service_errors,
    k.ENDPOINTS: endpoints.endpoints_errors,
    k.ENDPOINT_SLICE: endpoints.endpoint_slice_errors,
    k.DEPLOYMENT: workloads.deployment_errors,
    k.REPLICA_SET: workloads.replica_set_errors,
    k.DAEMON_SET: workloads.daemon_set_errors,
    k.CONTROLLER_REVISION: workloads.revision_errors,
    k.CONFIG_MAP: data.config_map_errors,
    k.SECRET: data.secret_errors,
    k.ROLE: roles.role_errors,
    k.CLUSTER_ROLE: roles.cluster_role_errors,
    k.ROLE_BINDING: roles.binding_errors,
    k.CLUSTER_ROLE_BINDING: roles.cluster_binding_errors,
    k.NAMESPACE: cluster_kinds.namespace_errors,
    k.NODE: cluster_kinds.node_errors,
    k.SERVICE_ACCOUNT: cluster_kinds.service_account_errors,
    k.LEASE: cluster_kinds.lease_errors,
    k.EVENT: cluster_kinds.event_errors,
    k.EVENTS_EVENT: cluster_kinds.event_errors,
    k.CRD: definitions.crd_errors,
    k.SERVICE_CIDR: addresses.service_cidr_errors,
    k.IP_ADDRESS: addresses.ip_address_errors,
}
_UPDATES: dict[Kind, UpdateCheck] = {
    k.POD: pods.pod_update_errors,
    k.SERVICE: services.service_update_errors,
    k.ENDPOINT_SLICE: endpoints.endpoint_slice_update_errors,
    k.DEPLOYMENT: workloads.workload_update_errors,
    k.REPLICA_SET: workloads.workload_update_errors,
    k.DAEMON_SET: workloads.workload_update_errors,
    k.CONTROLLER_REVISION: workloads.revision_update_errors,
    k.CONFIG_MAP: data.config_map_update_errors,
    k.SECRET: data.secret_update_errors,
    k.NODE: cluster_kinds.node_update_errors,
    k.ROLE_BINDING: roles.binding_update_errors,
    k.CLUSTER_ROLE_BINDING: roles.binding_update_errors,
    k.CRD: definitions.crd_update_errors,
    k.SERVICE_CIDR: addresses.service_cidr_update_errors,
    k.IP_ADDRESS: addresses.ip_address_update_errors,
}
_STATUSES: dict[Kind, Check] = {k.SERVICE: service_status.service_status_errors}
_WARNINGS: dict[Kind, Callable[[Object], Iterator[str]]] = {k.SERVICE: service_warnings.service_warnings}
_ONLY_THE_CHANGE = frozenset({k.POD})  # a pod that lives is judged by what changes, so that new rules do not trap it
_THE_CHANGE_LAST = frozenset({k.DEPLOYMENT, k.REPLICA_SET, k.DAEMON_SET})  # as their strategies tell it


def validate_create(kind: Kind, obj: Object) -> list[FieldError]:
    """Everything that is wrong with a new object, metadata first."""
    check = _CHECKS.get(kind)
    return [*validate_metadata(kind, obj, None), *(check(obj) if check else ())]


def validate_update(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """Everything that is wrong with a changed object, or with the change."""
    found = validate_metadata(kind, new, old)
    whole, change = _CHECKS.get(kind), _UPDATES.get(kind)
    of_change = list(change(new, old)) if change else []
    of_whole = list(whole(new)) if whole and kind not in _ONLY_THE_CHANGE else []
    return found + (of_whole + of_change if kind in _THE_CHANGE_LAST else of_change + of_whole)


def validate_status(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """Everything that is wrong with an object of which only the status was written."""
    check = _STATUSES.get(kind)
    return [*validate_metadata(kind, new, old), *(check(new) if check else ())]


def warnings_of(kind: Kind, obj: Object) -> list[str]:
    """What the client should know of an object that is well."""
    told = _WARNINGS.get(kind)
    return list(told(obj)) if told else []
