"""Columns and cells by kind, all but pods'."""

from datetime import datetime
from typing import Any

from clew.api import kinds as k
from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.base.addresses import with_port
from clew.cluster.tables.columns import (
    AGE,
    NAME,
    Cells,
    Column,
    age,
    columns,
    images,
    name,
    selector,
    since,
)
from clew.cluster.tables.pods import POD_COLUMNS, pod_cells

_ROLE = "node-role.kubernetes.io/"


def _service(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    ports = ",".join(
        f"{port.get('port')}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol', 'TCP')}"
        for port in spec.get("ports") or []
    )
    return [
        name(obj), spec.get("type"), spec.get("clusterIP") or "<none>", _external(obj),
        ports or "<none>", age(obj, now), selector(spec.get("selector")),
    ]  # fmt: skip


def _external(obj: Object) -> str:
    spec = obj.get("spec") or {}
    given = list(spec.get("externalIPs") or [])
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName") or "")
    if spec.get("type") == "LoadBalancer":
        ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        found = sorted({each.get("ip") or each.get("hostname") for each in ingress})
        return ",".join([*found, *given]) or "<pending>"
    return ",".join(given) or "<none>"


def _few(texts: list[str], most: int = 3) -> str:
    if not texts:
        return "<none>"
    more = len(texts) - most
    return ",".join(texts[:most]) + (f" + {more} more..." if more > 0 else "")


def _endpoints(obj: Object, now: datetime) -> list[Any]:
    found: list[str] = []
    for subset in obj.get("subsets") or []:
        addresses = [address["ip"] for address in subset.get("addresses") or []]
        ports = subset.get("ports") or []
        found += [with_port(ip, port["port"]) for port in ports for ip in addresses] if ports else addresses
    return [name(obj), _few(found), age(obj, now)]


def _endpoint_slice(obj: Object, now: datetime) -> list[Any]:
    ports = [str(port.get("port") or port.get("name") or "*") for port in obj.get("ports") or []]
    addresses = [address for endpoint in obj.get("endpoints") or [] for address in endpoint.get("addresses") or []]
    shown = "<unset>" if not ports else _few(ports)
    return [name(obj), obj.get("addressType"), shown, "<unset>" if not addresses else _few(addresses), age(obj, now)]


def _node(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    ready = next((each["status"] for each in status.get("conditions") or [] if each["type"] == "Ready"), None)
    state = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    if spec.get("unschedulable"):
        state += ",SchedulingDisabled"
    labels = obj["metadata"].get("labels") or {}
    roles = sorted(label.removeprefix(_ROLE) for label in labels if label.startswith(_ROLE) and label != _ROLE)
    info = status.get("nodeInfo") or {}

    def address(kind: str) -> str:
        return next((each["address"] for each in status.get("addresses") or [] if each["type"] == kind), "<none>")

    return [
        name(obj), state, ",".join(roles) or "<none>", age(obj, now), info.get("kubeletVersion", ""),
        address("InternalIP"), address("ExternalIP"), info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>", info.get("containerRuntimeVersion") or "<unknown>",
    ]  # fmt: skip


def _deployment(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        name(obj), f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}", status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0), age(obj, now), *images(spec), selector(spec.get("selector")),
    ]  # fmt: skip


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        name(obj), spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0), age(obj, now),
        *images(spec), selector(spec.get("selector")),
    ]  # fmt: skip


def _daemon_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    numbers = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    nodes = ((spec.get("template") or {}).get("spec") or {}).get("nodeSelector")
    return [
        name(obj), *(status.get(each, 0) for each in numbers), selector(nodes), age(obj, now), *images(spec),
        selector(spec.get("selector")),
    ]  # fmt: skip


def _event(obj: Object, now: datetime) -> list[Any]:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    series = obj.get("series") or {}
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first
    count = series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1
    kind = about.get("kind", "").lower()
    subject = f"{kind}/{about['name']}" if about.get("name") else kind
    text = (obj.get("message") or obj.get("note") or "").strip()
    return [
        since(last, now), obj.get("type") or "", obj.get("reason") or "", subject, about.get("fieldPath", ""),
        _source(obj), text, since(first, now), count, name(obj),
    ]  # fmt: skip


def _source(event: Object) -> str:
    """Who reported an event: a component, and the host where it runs."""
    source = event.get("source") or event.get("deprecatedSource") or {}
    component = source.get("component") or event.get("reportingComponent") or event.get("reportingController") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def _config_map(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), age(obj, now)]


def _secret(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), obj.get("type"), len(obj.get("data") or {}), age(obj, now)]


def _service_account(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), len(obj.get("secrets") or []), age(obj, now)]


def _namespace(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), (obj.get("status") or {}).get("phase", ""), age(obj, now)]


def _lease(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), (obj.get("spec") or {}).get("holderIdentity", ""), age(obj, now)]


def _role(obj: Object, _now: datetime) -> list[Any]:
    return [name(obj), obj["metadata"].get("creationTimestamp")]


def _binding(obj: Object, now: datetime) -> list[Any]:
    reference = obj.get("roleRef") or {}
    by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or []:
        who = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            who = f"{subject.get('namespace', '')}/{who}"
        by_kind.setdefault(subject.get("kind", ""), []).append(who)
    role = f"{reference.get('kind')}/{reference.get('name')}"
    return [name(obj), role, age(obj, now), *(", ".join(each) for each in list(by_kind.values())[:3])]


def _revision(obj: Object, now: datetime) -> list[Any]:
    owners = obj["metadata"].get("ownerReferences") or []
    owner = next((each for each in owners if each.get("controller")), None)
    controller = "<none>"
    if owner:
        group = owner["apiVersion"].rpartition("/")[0]
        controller = f"{owner['kind'].lower()}{'.' + group if group else ''}/{owner['name']}"
    return [name(obj), controller, obj.get("revision"), age(obj, now)]


def _scale(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [name(obj), spec.get("replicas") or 0, status.get("replicas") or 0, age(obj, now)]


def _definition(obj: Object, _now: datetime) -> list[Any]:
    return [name(obj), obj["metadata"].get("creationTimestamp")]


def _service_cidr(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), ",".join((obj.get("spec") or {}).get("cidrs") or ()), age(obj, now)]


def _ip_address(obj: Object, now: datetime) -> list[Any]:
    parent = (obj.get("spec") or {}).get("parentRef") or {}
    resource = ".".join(part for part in (parent.get("resource"), parent.get("group")) if part)
    said = "/".join(part for part in (resource, parent.get("namespace"), parent.get("name")) if part)
    return [name(obj), said, age(obj, now)]


_CREATED = (NAME, Column("Created At", "date"))
_WIDE_WORKLOAD = ("Containers", "Images", "Selector")

PRINTERS: dict[Kind, tuple[tuple[Column, ...], Cells]] = {
    k.POD: (POD_COLUMNS, pod_cells),
    k.SERVICE: (columns("Type", "Cluster-IP", "External-IP", "Port(s)", "Age", wide=("Selector",)), _service),
    k.ENDPOINTS: (columns("Endpoints", "Age"), _endpoints),
    k.ENDPOINT_SLICE: (columns("AddressType", "Ports", "Endpoints", "Age"), _endpoint_slice),
    k.NODE: (
        columns(
            "Status", "Roles", "Age", "Version",
            wide=("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"),
        ),
        _node,
    ),
    k.DEPLOYMENT: (columns("Ready", "Up-to-date", "Available", "Age", wide=_WIDE_WORKLOAD), _deployment),
    k.REPLICA_SET: (columns("Desired", "Current", "Ready", "Age", wide=_WIDE_WORKLOAD), _replica_set),
    k.DAEMON_SET: (
        columns(
            "Desired", "Current", "Ready", "Up-to-date", "Available", "Node Selector", "Age", wide=_WIDE_WORKLOAD
        ),
        _daemon_set,
    ),
    k.EVENT: (
        (
            Column("Last Seen"), Column("Type"), Column("Reason"), Column("Object"), Column("Subobject", priority=1),
            Column("Source", priority=1), Column("Message"), Column("First Seen", priority=1),
            Column("Count", "integer", priority=1), Column("Name", "string", "name", 1),
        ),
        _event,
    ),
    k.CONFIG_MAP: (columns("Data", "Age"), _config_map),
    k.SECRET: (columns("Type", "Data", "Age"), _secret),
    k.SERVICE_ACCOUNT: (columns("Secrets", "Age"), _service_account),
    k.NAMESPACE: (columns("Status", "Age"), _namespace),
    k.LEASE: (columns("Holder", "Age"), _lease),
    k.ROLE: (_CREATED, _role),
    k.CLUSTER_ROLE: (_CREATED, _role),
    k.ROLE_BINDING: (columns("Role", "Age", wide=("Users", "Groups", "ServiceAccounts")), _binding),
    k.CLUSTER_ROLE_BINDING: (columns("Role", "Age", wide=("Users", "Groups", "ServiceAccounts")), _binding),
    k.CONTROLLER_REVISION: (columns("Controller", "Revision", "Age"), _revision),
    k.CRD: (_CREATED, _definition),
    k.SERVICE_CIDR: (columns("CIDRs", "Age"), _service_cidr),
    k.IP_ADDRESS: (columns("ParentRef", "Age"), _ip_address),
    k.SCALE: (columns("Desired", "Available", "Age"), _scale),
}  # fmt: skip
PRINTERS[k.EVENTS_EVENT] = PRINTERS[k.EVENT]
DEFAULT: tuple[tuple[Column, ...], Cells] = ((NAME, AGE), lambda obj, now: [name(obj), age(obj, now)])
