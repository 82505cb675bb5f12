"""Wrong manifests: the real API server's code, reason, message and causes, letter by letter, and nothing stored."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Answer, Raw
from .samples import ABSENT, CONFIG, CORE, DEPLOYMENT, MERGE, NODE_PORT, PATHS, POD, SERVICE, changed

LABEL = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric"
    " character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
RFC_1123 = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with"
    " an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    r" '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
PORT = "must be between 1 and 65535, inclusive"
INVALID, REQUIRED, DUPLICATE = "FieldValueInvalid", "FieldValueRequired", "FieldValueDuplicate"
FORBIDDEN, UNSUPPORTED = "FieldValueForbidden", "FieldValueNotSupported"


@pytest.fixture(scope="module")
def ground(ask: Raw) -> None:
    """What the cases stand on: the default account, and a Service that has its address and port."""
    ask("POST", f"{CORE}/serviceaccounts", {"metadata": {"name": "default"}})
    taken = changed(changed(NODE_PORT, "spec.ports.0.nodePort", 30080), "spec.clusterIP", "10.96.7.7")
    for obj in (changed(taken, "metadata.name", "taken"), changed(DEPLOYMENT, "metadata.name", "taken"), CONFIG):
        made = ask("POST", PATHS[obj["kind"]], obj)
        assert made.code == 201, made.text
    assert ask("PATCH", f"{PATHS['ConfigMap']}/conf", {"immutable": True}, MERGE).code == 200


def revision(ask: Raw) -> str:
    """Of everything: it moves with any write."""
    return str(ask("GET", "/api/v1/nodes").obj["metadata"]["resourceVersion"])


def told(answer: Answer, kind: str, name: str, causes: list[tuple[str, str, str]]) -> None:
    """422 with these causes, told once in the message and once as a list."""
    assert (answer.code, answer.obj["reason"]) == (422, "Invalid"), answer.text
    assert answer.causes == causes
    texts = [f"{field}: {message}" for field, _, message in causes]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    assert answer.obj["message"] == f'{kind} "{name}" is invalid: {joined}'
    details = answer.obj["details"]
    assert (details.get("name", ""), details["kind"]) == (name, kind.partition(".")[0])


WRONG_SERVICES = [
    ("metadata.name", "Web", [("metadata.name", INVALID, f'Invalid value: "Web": {RFC_1123}')]),
    ("metadata.name", ABSENT, [("metadata.name", REQUIRED, "Required value: name or generateName is required")]),
    ("metadata.labels", {"a b": "c"}, [("metadata.labels", INVALID, f'Invalid value: "a b": {LABEL}')]),
    ("metadata.labels", {"a": "-c"}, [("metadata.labels", INVALID, f'Invalid value: "-c": {LABEL_VALUE}')]),
    ("metadata.annotations", {"a b": "c"}, [("metadata.annotations", INVALID, f'Invalid value: "a b": {LABEL}')]),
    ("metadata.finalizers", ["x"], [("metadata.finalizers[0]", INVALID, (
        'Invalid value: "x": name is neither a standard finalizer name nor is it fully qualified'))]),
    ("spec.selector", {"a b": "c"}, [("spec.selector", INVALID, f'Invalid value: "a b": {LABEL}')]),
    ("spec.clusterIP", "192.0.2.9", [("spec.clusterIPs", INVALID, (
        'Invalid value: ["192.0.2.9"]: failed to allocate IP 192.0.2.9: the provided IP (192.0.2.9) is not in the valid'
        " range. The range of valid IPs is 10.96.0.0/16"))]),
    ("spec.clusterIP", "10.96.7.7", [("spec.clusterIPs", INVALID, (
        'Invalid value: ["10.96.7.7"]: failed to allocate IP 10.96.7.7: provided IP is already allocated'))]),
    ("spec.clusterIP", "nonsense", [("spec.clusterIPs[0]", INVALID, (
        'Invalid value: "nonsense": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'))]),
    ("spec.clusterIP", "fd00::1", [("spec.clusterIPs[0]", INVALID, (
        'Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster'))]),
    ("spec.ipFamilyPolicy", "RequireDualStack", [("spec.ipFamilyPolicy", INVALID, (
        'Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'))]),
    ("spec.ipFamilies", ["IPv6"], [("spec.ipFamilies[0]", INVALID, (
        'Invalid value: "IPv6": not configured on this cluster'))]),
    ("spec.ports.0.port", 0, [("spec.ports[0].port", INVALID, f"Invalid value: 0: {PORT}")]),
    ("spec.ports.0", {"port": 70000, "targetPort": 1}, [
        ("spec.ports[0].port", INVALID, f"Invalid value: 70000: {PORT}")]),
    ("spec.ports.0.targetPort", 70000, [("spec.ports[0].targetPort", INVALID, f"Invalid value: 70000: {PORT}")]),
    ("spec.ports.0.targetPort", "A_1", [("spec.ports[0].targetPort", INVALID, (
        'Invalid value: "A_1": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)')),
        ("spec.ports[0].targetPort", INVALID, 'Invalid value: "A_1": must contain at least one letter (a-z)')]),
    ("spec.ports.0.protocol", "ICMP", [("spec.ports[0].protocol", UNSUPPORTED, (
        'Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'))]),
    ("spec.ports", ABSENT, [("spec.ports", REQUIRED, "Required value")]),
    ("spec.ports", [{"port": 80}, {"port": 81}], [
        ("spec.ports[0].name", REQUIRED, "Required value"), ("spec.ports[1].name", REQUIRED, "Required value")]),
    ("spec.ports", [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}], [
        ("spec.ports[1].name", DUPLICATE, 'Duplicate value: "a"')]),
    ("spec.ports", [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}], [("spec.ports[1]", DUPLICATE, (
        'Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}'))]),
    ("spec.ports.0.nodePort", 30081, [
        ("spec.ports[0].nodePort", FORBIDDEN, "Forbidden: may not be used when `type` is 'ClusterIP'")]),
    ("spec.type", "Weird", [("spec.type", UNSUPPORTED, (
        'Unsupported value: "Weird": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'))]),
    ("spec.sessionAffinity", "Cookie", [("spec.sessionAffinity", UNSUPPORTED, (
        'Unsupported value: "Cookie": supported values: "ClientIP", "None"'))]),
    ("spec.externalTrafficPolicy", "Local", [("spec.externalTrafficPolicy", INVALID, (
        'Invalid value: "Local": may only be set for externally-accessible services'))]),
    ("spec.internalTrafficPolicy", "Near", [("spec.internalTrafficPolicy", UNSUPPORTED, (
        'Unsupported value: "Near": supported values: "Cluster", "Local"'))]),
    ("spec.externalIPs", ["127.0.0.1"], [("spec.externalIPs[0]", INVALID, (
        'Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'))]),
]  # fmt: skip


@pytest.mark.usefixtures("ground")
@pytest.mark.parametrize(("path", "value", "causes"), WRONG_SERVICES)
def test_services(ask: Raw, path: str, value: Any, causes: list) -> None:
    before, obj = revision(ask), changed(SERVICE, path, value)
    told(ask("POST", PATHS["Service"], obj), "Service", obj["metadata"].get("name", ""), causes)
    assert revision(ask) == before


@pytest.mark.usefixtures("ground")
@pytest.mark.parametrize(
    ("ports", "field", "reason", "message"),
    [
        ([80], "spec.ports[0].nodePort", INVALID,
         ("Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767")),
        ([32768], "spec.ports[0].nodePort", INVALID,
         ("Invalid value: 32768: provided port is not in the valid range. The range of valid ports is 30000-32767")),
        ([30080], "spec.ports[0].nodePort", INVALID, "Invalid value: 30080: provided port is already allocated"),
        ([30090, 30090], "spec.ports[1].nodePort", DUPLICATE, "Duplicate value: 30090"),
        ([30091, 30080], "spec.ports[1].nodePort", INVALID, "Invalid value: 30080: provided port is already allocated"),
    ],
)  # fmt: skip
def test_node_ports(ask: Raw, ports: list[int], field: str, reason: str, message: str) -> None:
    before = revision(ask)
    listed = [{"name": f"p{at}", "port": 80 + at, "nodePort": port} for at, port in enumerate(ports)]
    told(ask("POST", PATHS["Service"], changed(NODE_PORT, "spec.ports", listed)), "Service", "web", [
        (field, reason, message)])  # fmt: skip
    assert revision(ask) == before
    if ports[0] == 30091:  # what was taken for the refused Service is free again
        free = changed(NODE_PORT, "spec.ports.0.nodePort", 30091)
        assert ask("POST", f"{PATHS['Service']}?dryRun=All", free).code == 201


LABELS = "spec.template.metadata.labels"
CONTAINER = "spec.template.spec.containers.0"
IN_POD = "spec.template.spec.containers[0]"
MISMATCH = "`selector` does not match template `labels`"
WRONG_DEPLOYMENTS = [
    ("metadata.name", "W_", [("metadata.name", INVALID, f'Invalid value: "W_": {SUBDOMAIN}')]),
    ("spec.replicas", -1, [("spec.replicas", INVALID, "Invalid value: -1: must be greater than or equal to 0")]),
    ("spec.selector", ABSENT, [
        ("spec.selector", REQUIRED, "Required value"),
        (LABELS, INVALID, f'Invalid value: {{"app":"web"}}: {MISMATCH}')]),
    ("spec.selector", {}, [
        ("spec.selector", INVALID, "Invalid value: {}: empty selector is invalid for deployment")]),
    ("spec.selector.matchLabels", {"app": "x"}, [(LABELS, INVALID, f'Invalid value: {{"app":"web"}}: {MISMATCH}')]),
    ("spec.selector.matchLabels", {"a b": "x"}, [
        ("spec.selector.matchLabels", INVALID, f'Invalid value: "a b": {LABEL}')]),
    ("spec.selector", {"matchExpressions": [{"key": "app", "operator": "Is"}]}, [
        ("spec.selector.matchExpressions[0].operator", INVALID, (
            'Invalid value: "Is": not a valid selector operator'))]),
    ("spec.selector", {"matchExpressions": [{"key": "app", "operator": "In"}]}, [
        ("spec.selector.matchExpressions[0].values", REQUIRED, (
            "Required value: must be specified when `operator` is 'In' or 'NotIn'"))]),
    ("spec.template", ABSENT, [
        (LABELS, INVALID, f"Invalid value: null: {MISMATCH}"),
        ("spec.template.spec.containers", REQUIRED, "Required value")]),
    ("spec.template.spec.containers", [], [("spec.template.spec.containers", REQUIRED, "Required value")]),
    ("spec.strategy", {"type": "Weird"}, [("spec.strategy", UNSUPPORTED, (
        'Unsupported value: {"Type":"Weird","RollingUpdate":null}: supported values: "Recreate", "RollingUpdate"'))]),
    ("spec.strategy", {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}, [
        ("spec.strategy.rollingUpdate.maxUnavailable", INVALID, (
            "Invalid value: 0: may not be 0 when `maxSurge` is 0"))]),
    ("spec.template.spec.restartPolicy", "Never", [("spec.template.spec.restartPolicy", UNSUPPORTED, (
        'Unsupported value: "Never": supported values: "Always"'))]),
    (f"{CONTAINER}.image", ABSENT, [(f"{IN_POD}.image", REQUIRED, "Required value")]),
    (f"{CONTAINER}.ports", [{"containerPort": 70000}], [
        (f"{IN_POD}.ports[0].containerPort", INVALID, f"Invalid value: 70000: {PORT}")]),
    (f"{CONTAINER}.imagePullPolicy", "Sometimes", [(f"{IN_POD}.imagePullPolicy", UNSUPPORTED, (
        'Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"'))]),
    (f"{CONTAINER}.resources", {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}, [
        (f"{IN_POD}.resources.requests", INVALID, 'Invalid value: "2": must be less than or equal to cpu limit of 1')]),
    (f"{CONTAINER}.volumeMounts", [{"name": "v", "mountPath": "/x"}], [
        (f"{IN_POD}.volumeMounts[0].name", "FieldValueNotFound", 'Not found: "v"')]),
]  # fmt: skip


@pytest.mark.usefixtures("ground")
@pytest.mark.parametrize(("path", "value", "causes"), WRONG_DEPLOYMENTS)
def test_deployments(ask: Raw, path: str, value: Any, causes: list) -> None:
    before, obj = revision(ask), changed(DEPLOYMENT, path, value)
    told(ask("POST", PATHS["Deployment"], obj), "Deployment.apps", obj["metadata"]["name"], causes)
    assert revision(ask) == before


CHANGES = [
    ("Service", "taken", {"spec": {"clusterIP": "10.96.7.8"}}, [
        ("spec.clusterIPs[0]", INVALID, 'Invalid value: ["10.96.7.8"]: may not change once set')]),
    ("Service", "taken", {"spec": {"clusterIP": "None"}}, [
        ("spec.clusterIPs[0]", INVALID, 'Invalid value: ["None"]: may not change once set'),
        ("spec.clusterIPs[0]", INVALID, "Invalid value: \"None\": may not be set to 'None' for NodePort services")]),
    ("Service", "taken", {"spec": {"ports": [{"port": 80, "nodePort": 99}]}}, [("spec.ports[0].nodePort", INVALID, (
        "Invalid value: 99: provided port is not in the valid range. The range of valid ports is 30000-32767"))]),
    ("Service", "taken", {"spec": {"type": "ExternalName"}}, [("spec.externalName", REQUIRED, "Required value")]),
    ("Deployment", "taken", {"spec": {"selector": {"matchLabels": {"app": "x"}}}}, [
        (LABELS, INVALID, f'Invalid value: {{"app":"web"}}: {MISMATCH}'),
        ("spec.selector", INVALID, 'Invalid value: {"matchLabels":{"app":"x"}}: field is immutable')]),
    ("Deployment", "taken", {"spec": {"replicas": -3}}, [
        ("spec.replicas", INVALID, "Invalid value: -3: must be greater than or equal to 0")]),
    ("ConfigMap", "conf", {"data": {"a": "c"}}, [
        ("data", FORBIDDEN, "Forbidden: field is immutable when `immutable` is set")]),
    ("ConfigMap", "conf", {"immutable": False}, [
        ("immutable", FORBIDDEN, "Forbidden: field is immutable when `immutable` is set")]),
    ("ConfigMap", "conf", {"metadata": {"labels": {"a b": "c"}}}, [
        ("metadata.labels", INVALID, f'Invalid value: "a b": {LABEL}')]),
]  # fmt: skip


@pytest.mark.usefixtures("ground")
@pytest.mark.parametrize("how", ["PATCH", "PUT"])
@pytest.mark.parametrize(("kind", "name", "change", "causes"), CHANGES)
def test_changes(ask: Raw, how: str, kind: str, name: str, change: dict, causes: list) -> None:
    """A patch and a PUT of what it makes are refused alike."""
    path, before = f"{PATHS[kind]}/{name}", revision(ask)
    if how == "PATCH":
        answer = ask("PATCH", path, change, MERGE)
    else:
        obj = ask("GET", path).obj
        for part, fields in change.items():
            obj[part] = {**obj[part], **fields} if isinstance(obj.get(part), dict) else fields
        answer = ask("PUT", path, obj)
    told(answer, "Deployment.apps" if kind == "Deployment" else kind, name, causes)
    assert revision(ask) == before


@pytest.mark.usefixtures("ground")
@pytest.mark.parametrize(
    ("obj", "code", "reason", "message"),
    [
        (changed(SERVICE, "metadata.name", "taken"), 409, "AlreadyExists", 'services "taken" already exists'),
        (changed(DEPLOYMENT, "metadata.name", "taken"), 409, "AlreadyExists",
         'deployments.apps "taken" already exists'),
        (changed(SERVICE, "spec.ports.0.port", "80"), 400, "BadRequest",
         ('Service in version "v1" cannot be handled as a Service: json: cannot unmarshal string into Go struct field'
          " ServicePort.spec.ports.port of type int32")),
        (changed(DEPLOYMENT, f"{CONTAINER}.resources", {"limits": {"cpu": "lots"}}), 400, "BadRequest",
         ('Deployment in version "v1" cannot be handled as a Deployment: quantities must match the regular expression'
          " '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")),
        (changed(SERVICE, "metadata.namespace", "other"), 400, "BadRequest",
         "the namespace of the provided object does not match the namespace sent on the request"),
        (changed(SERVICE, "metadata.resourceVersion", "5"), 500, "",
         "resourceVersion should not be set on objects to be created"),
        (changed(POD, "spec.serviceAccountName", "nobody"), 403, "Forbidden",
         'pods "p" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found'),
        (changed(POD, "spec.priorityClassName", "none"), 403, "Forbidden",
         'pods "p" is forbidden: no PriorityClass with name none was found'),
    ],
)  # fmt: skip
def test_other_refusals(ask: Raw, obj: dict, code: int, reason: str, message: str) -> None:
    before = revision(ask)
    answer = ask("POST", PATHS[obj["kind"]], obj)
    assert (answer.code, answer.obj.get("reason", ""), answer.obj["message"]) == (code, reason, message)
    assert (answer.obj["code"], answer.obj["status"], answer.obj["kind"]) == (code, "Failure", "Status")
    assert revision(ask) == before


def test_a_namespace_that_is_not_there(ask: Raw) -> None:
    answer = ask("POST", "/api/v1/namespaces/nowhere/services", SERVICE)
    assert (answer.code, answer.obj["message"]) == (404, 'namespaces "nowhere" not found')


def test_a_generated_name_is_told_beside_its_prefix(ask: Raw) -> None:
    answer = ask("POST", PATHS["ConfigMap"], {"metadata": {"generateName": "A_"}})
    assert [field for field, _, _ in answer.causes] == ["metadata.generateName", "metadata.name"]


@pytest.mark.usefixtures("ground")
def test_all_of_it_at_once(ask: Raw) -> None:
    """Every problem of an object is told, not only the first."""
    obj = changed(changed(changed(SERVICE, "metadata.name", "W"), "spec.type", "X"), "spec.ports.0.protocol", "Y")
    answer = ask("POST", PATHS["Service"], obj)
    assert [field for field, _, _ in answer.causes] == ["metadata.name", "spec.type", "spec.ports[0].protocol"]
    assert answer.obj["message"].startswith('Service "W" is invalid: [metadata.name: Invalid value: "W": ')


Kubectl = Callable[..., subprocess.CompletedProcess[str]]
TOLD = [
    (changed(SERVICE, "spec.selektor", {}), ("create",),
     ('Error from server (BadRequest): error when creating "STDIN": Service in version "v1" cannot be handled as a'
      ' Service: strict decoding error: unknown field "spec.selektor"')),
    (changed(SERVICE, "spec.ports.0.port", "http"), ("create",),
     ('Error from server (BadRequest): error when creating "STDIN": Service in version "v1" cannot be handled as a'
      " Service: json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32")),
    (changed(SERVICE, "spec.ports.0.port", 99999), ("create",),
     ('The Service "web" is invalid: \n* spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535,'
      " inclusive\n* spec.ports[0].targetPort: Invalid value: 99999: must be between 1 and 65535, inclusive")),
    (changed(SERVICE, "spec.clusterIP", "192.0.2.9"), ("apply",),
     ('The Service "web" is invalid: spec.clusterIPs: Invalid value: ["192.0.2.9"]: failed to allocate IP 192.0.2.9:'
      " the provided IP (192.0.2.9) is not in the valid range. The range of valid IPs is 10.96.0.0/16")),
    (changed(DEPLOYMENT, "spec.selector.matchLabels", {"app": "x"}), ("apply", "--server-side"),
     ('The Deployment "web" is invalid: spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does'
      " not match template `labels`")),
    (changed(SERVICE, "metadata.name", "kubernetes"), ("create",),
     'Error from server (AlreadyExists): error when creating "STDIN": services "kubernetes" already exists'),
]  # fmt: skip


def test_kubectl_tells_it(kubectl: Kubectl) -> None:
    for obj, command, message in TOLD:
        told_ = kubectl(*command, "-f", "-", stdin=json.dumps(obj), check=False)
        assert (told_.returncode, told_.stderr.strip()) == (1, message)
    assert kubectl("get", "services,deployments", "-o", "name").stdout.split() == ["service/kubernetes"]


def test_kubectl_asks_for_strictness_as_the_user_does(kubectl: Kubectl) -> None:
    wrong = json.dumps(changed(SERVICE, "spec.selektor", {}))
    assert kubectl("create", "--validate=strict", "-f", "-", stdin=wrong, check=False).returncode == 1
    warned = kubectl("create", "--validate=warn", "-f", "-", stdin=wrong)
    assert warned.stderr.strip() == 'Warning: unknown field "spec.selektor"'
    kubectl("delete", "service", "web")
    assert kubectl("create", "--validate=ignore", "-f", "-", stdin=wrong).stderr == ""
    kubectl("delete", "service", "web")
    twice = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}, "data": {}}'
    assert "duplicate field" not in kubectl("create", "--validate=ignore", "-f", "-", stdin=twice).stderr
