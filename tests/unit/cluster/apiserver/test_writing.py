"""What every write does beside storing: generations, status apart, dry runs, owners of fields, conflicts."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from clew.api.kinds import SERVICE as SERVICE_KIND
from clew.cluster.apiserver.service_fields import inherit

from .conftest import Answer, Raw, Running
from .samples import CONFIG, CORE, DEPLOYMENT, MERGE, NODE_PORT, PATHS, POD, SERVICE, changed

STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def made(answer: Answer) -> Any:
    assert answer.code in {200, 201}, answer.text
    return answer.obj


def managers(obj: Any) -> set[tuple[str, str, str]]:
    """(manager, operation, subresource) of every entry."""
    return {
        (each["manager"], each["operation"], each.get("subresource", "")) for each in obj["metadata"]["managedFields"]
    }


def test_the_generation_counts_changes_of_what_is_wanted(call: Raw) -> None:
    path = f"{PATHS['Deployment']}/web"

    def generation(answer: Answer) -> int:
        return int(made(answer)["metadata"]["generation"])

    assert generation(call("POST", PATHS["Deployment"], changed(DEPLOYMENT, "metadata.generation", 9))) == 1
    assert generation(call("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, MERGE)) == 1
    assert generation(call("PATCH", path, {"spec": {"replicas": 3}}, MERGE)) == 2
    assert generation(call("PATCH", path, {"spec": {"replicas": 3}}, MERGE)) == 2  # no change
    assert generation(call("PATCH", f"{path}/status", {"status": {"replicas": 3}}, MERGE)) == 2
    assert generation(call("PATCH", path, {"metadata": {"generation": 77}}, MERGE)) == 2
    assert "generation" not in made(call("POST", PATHS["ConfigMap"], CONFIG))["metadata"]


def test_status_and_the_rest_are_written_through_doors_of_their_own(call: Raw) -> None:
    path = f"{PATHS['Deployment']}/web"
    born = made(call("POST", PATHS["Deployment"], {**DEPLOYMENT, "status": {"replicas": 9}}))
    assert born["status"] == {}
    both = {"spec": {"replicas": 5}, "status": {"replicas": 7}, "metadata": {"labels": {"a": "b"}}}
    told = made(call("PATCH", f"{path}/status", both, MERGE))
    assert (told["status"], told["spec"]["replicas"], told["metadata"].get("labels")) == ({"replicas": 7}, 1, None)
    changed_ = made(call("PATCH", path, both, MERGE))
    assert (changed_["status"], changed_["spec"]["replicas"]) == ({"replicas": 7}, 5)
    put = made(call("PUT", f"{path}/status", {**changed_, "spec": {"replicas": 8}, "status": {"replicas": 5}}))
    assert (put["status"], put["spec"]["replicas"]) == ({"replicas": 5}, 5)
    assert made(call("GET", f"{path}/status")) == put


def test_writing_what_is_there_writes_nothing(call: Raw) -> None:
    first = made(call("POST", PATHS["Service"], SERVICE))
    again = made(call("PUT", f"{PATHS['Service']}/web", first))
    assert again == first
    patched = made(call("PATCH", f"{PATHS['Service']}/web", {"spec": {"ports": first["spec"]["ports"]}}, MERGE))
    assert patched["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_the_newest_version_wins_and_the_other_is_told(call: Raw) -> None:
    first = made(call("POST", PATHS["ConfigMap"], CONFIG))
    made(call("PUT", f"{PATHS['ConfigMap']}/conf", {**first, "data": {"a": "1"}}))
    late = call("PUT", f"{PATHS['ConfigMap']}/conf", {**first, "data": {"a": "2"}})
    assert (late.code, late.obj["reason"], late.obj["message"]) == (
        409, "Conflict",
        ('Operation cannot be fulfilled on configmaps "conf": the object has been modified; please apply your changes'
         " to the latest version and try again"),
    )  # fmt: skip
    unversioned = {**first, "metadata": {"name": "conf"}, "data": {"a": "3"}}
    assert made(call("PUT", f"{PATHS['ConfigMap']}/conf", unversioned))["data"] == {"a": "3"}
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}}
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    made(call("PUT", f"{leases}/l", lease))  # one of the kinds that a PUT creates
    refused = call("PUT", f"{leases}/l", lease)
    assert refused.causes == [
        ("metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0: must be specified for an update")
    ]


def test_a_put_creates_a_service_but_no_deployment(call: Raw) -> None:
    assert call("PUT", f"{PATHS['Service']}/web", SERVICE).code == 201
    refused = call("PUT", f"{PATHS['Deployment']}/web", DEPLOYMENT)
    assert (refused.code, refused.obj["message"]) == (404, 'deployments.apps "web" not found')


def test_birth_cannot_be_changed(call: Raw) -> None:
    """Each used to be put right in silence; only what is left out is."""
    born = made(call("POST", PATHS["ConfigMap"], CONFIG))
    path = f"{PATHS['ConfigMap']}/conf"
    late = call("PUT", path, changed(born, "metadata.creationTimestamp", "2020-01-01T00:00:00Z"))
    assert late.causes == [
        ("metadata.creationTimestamp", "FieldValueInvalid",
         'Invalid value: "2020-01-01T00:00:00Z": field is immutable'),
    ]  # fmt: skip
    dying = call("PUT", path, changed(born, "metadata.deletionTimestamp", "2020-01-01T00:00:00Z"))
    assert [field for field, _, _ in dying.causes] == ["metadata.deletionTimestamp"]
    kept = made(call("PUT", path, {**born, "metadata": {"name": "conf"}, "data": {"a": "z"}}))
    for field in ("uid", "creationTimestamp"):
        assert kept["metadata"][field] == born["metadata"][field]


DRY = "?dryRun=All"


def test_a_dry_run_does_all_but_store(call: Raw) -> None:
    before = call("GET", "/api/v1/nodes").obj["metadata"]["resourceVersion"]
    dry = made(call("POST", PATHS["Service"] + DRY, changed(NODE_PORT, "spec.clusterIP", "10.96.3.3")))
    assert dry["spec"]["clusterIP"] == "10.96.3.3"
    assert dry["spec"]["ports"][0]["nodePort"]
    assert made(call("PATCH", f"{PATHS['ConfigMap']}/c{DRY}&fieldManager=me", {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}, APPLY))["metadata"]["uid"]  # fmt: skip
    assert call("GET", "/api/v1/nodes").obj["metadata"]["resourceVersion"] == before
    made(call("POST", PATHS["Service"], changed(SERVICE, "spec.clusterIP", "10.96.3.3")))  # the address is free
    path = f"{PATHS['Service']}/web"
    stored = made(call("GET", path))
    assert made(call("PATCH", path + DRY, {"spec": {"type": "NodePort"}}, MERGE))["spec"]["type"] == "NodePort"
    assert made(call("PUT", path + DRY, changed(stored, "spec.type", "NodePort")))["spec"]["type"] == "NodePort"
    assert call("DELETE", path + DRY).code == 200
    assert call("DELETE", path, {"dryRun": ["All"]}).code == 200
    assert call("DELETE", PATHS["Service"] + DRY).code == 200
    assert made(call("GET", path)) == stored
    wrong = call("PATCH", path + DRY, {"spec": {"ports": []}}, MERGE)
    assert wrong.code == 422


def test_writers_are_known_by_name(call: Raw) -> None:
    made(call("POST", PATHS["Deployment"], DEPLOYMENT, User_Agent="web-tool/1.2 (linux)"))
    path = f"{PATHS['Deployment']}/web"
    made(call("PATCH", f"{path}?fieldManager=editor", {"spec": {"replicas": 4}}, MERGE))
    made(call("PATCH", f"{path}/status?fieldManager=robot", {"status": {"replicas": 4}}, MERGE))
    made(call("PATCH", f"{path}/scale?fieldManager=scaler", {"spec": {"replicas": 5}}, MERGE))
    obj = made(call("GET", path))
    assert managers(obj) == {
        ("web-tool", "Update", ""), ("robot", "Update", "status"), ("scaler", "Update", "scale"),
    }  # fmt: skip
    scaler = next(each for each in obj["metadata"]["managedFields"] if each["manager"] == "scaler")
    assert (scaler["fieldsType"], scaler["fieldsV1"]) == ("FieldsV1", {"f:spec": {"f:replicas": {}}})
    long = call("PATCH", f"{path}?fieldManager={'x' * 129}", {"spec": {"replicas": 4}}, MERGE)
    assert long.causes == [
        ("fieldManager", "FieldValueTooLong", "Too long: may not be more than 128 bytes"),
    ]  # fmt: skip
    odd = call("PATCH", f"{path}?fieldManager=a%07", {"spec": {"replicas": 4}}, MERGE)
    assert odd.causes[0][2].endswith("should only contain printable characters")


APPLIED = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": DEPLOYMENT["spec"]}


def test_apply_tells_who_owns_what_it_would_take(call: Raw) -> None:
    path = f"{PATHS['Deployment']}/web"
    created = call("PATCH", f"{path}?fieldManager=ci", APPLIED, APPLY)
    assert created.code == 201
    assert managers(created.obj) == {("ci", "Apply", "")}
    assert made(call("PATCH", f"{path}?fieldManager=ci", APPLIED, APPLY)) == created.obj  # nothing changed at all
    made(call("PATCH", f"{path}?fieldManager=hand", {"spec": {"replicas": 6, "paused": True}}, MERGE))
    wanted = changed(changed(APPLIED, "spec.replicas", 2), "spec.paused", False)
    refused = call("PATCH", f"{path}?fieldManager=ci", wanted, APPLY)
    assert (refused.code, refused.obj["reason"]) == (409, "Conflict")
    assert refused.obj["message"] == (
        'Apply failed with 2 conflicts: conflicts with "hand" using apps/v1:\n- .spec.paused\n- .spec.replicas'
    )
    assert refused.causes == [
        (".spec.paused", "FieldManagerConflict", 'conflict with "hand" using apps/v1'),
        (".spec.replicas", "FieldManagerConflict", 'conflict with "hand" using apps/v1'),
    ]
    assert made(call("GET", path))["spec"]["replicas"] == 6
    forced = made(call("PATCH", f"{path}?fieldManager=ci&force=true", wanted, APPLY))
    assert (forced["spec"]["replicas"], managers(forced)) == (2, {("ci", "Apply", "")})
    left_out = changed(APPLIED, "spec.replicas", ...)
    del left_out["spec"]["replicas"]
    gone = made(call("PATCH", f"{path}?fieldManager=ci", left_out, APPLY))
    assert gone["spec"]["replicas"] == 1  # nobody's any more: the default
    assert "paused" not in gone["spec"]


def test_apply_holds_to_the_version_and_the_object_it_names(call: Raw) -> None:
    """A resourceVersion in what is applied used to be passed over."""
    path = f"{PATHS['ConfigMap']}/conf?fieldManager=ci"
    first = made(call("PATCH", path, CONFIG, APPLY))
    moved = made(call("PATCH", path, {**CONFIG, "data": {"a": "c"}}, APPLY))
    version = first["metadata"]["resourceVersion"]
    late = call("PATCH", path, changed(CONFIG, "metadata.resourceVersion", version), APPLY)
    assert (late.code, late.obj["reason"]) == (409, "Conflict")
    now = changed(CONFIG, "metadata.resourceVersion", moved["metadata"]["resourceVersion"])
    assert call("PATCH", path, now, APPLY).code == 200
    other = call("PATCH", path, changed(CONFIG, "metadata.uid", "x"), APPLY)
    assert "Precondition failed: UID in precondition: x" in other.obj["message"]
    ghost = changed(changed(CONFIG, "metadata.uid", "x"), "metadata.name", "ghost")
    refused = call("PATCH", f"{PATHS['ConfigMap']}/ghost?fieldManager=ci", ghost, APPLY)
    assert (refused.code, refused.obj["message"]) == (
        409,
        ('Operation cannot be fulfilled on configmaps "ghost": uid mismatch: the provided object specified uid x, and'
         " no existing object was found"),
    )  # fmt: skip


def test_apply_and_put_need_the_right_to_create(running: Running, call: Raw) -> None:
    rules = [{"apiGroups": [""], "resources": ["services", "configmaps"], "verbs": ["get", "patch", "update"]}]
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    made(call("POST", f"{roles}/roles", {"metadata": {"name": "r"}, "rules": rules}))
    made(call("POST", f"{roles}/rolebindings", {
        "metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "eve"}],
    }))  # fmt: skip
    eve = Raw(running, "eve", ())
    for method, path, body, language in (
        ("PUT", f"{PATHS['Service']}/web", SERVICE, "application/json"),
        ("PATCH", f"{PATHS['ConfigMap']}/conf?fieldManager=e", CONFIG, APPLY),
    ):
        refused = eve(method, path, body, language)
        assert refused.code == 403
        assert 'User "eve" cannot create resource' in refused.obj["message"]
    eve.close()


def test_kubectl_tells_conflicts_as_it_does_on_a_real_server(kubectl: Kubectl) -> None:
    text = json.dumps(DEPLOYMENT)
    kubectl("apply", "-f", "-", stdin=text)
    kubectl("scale", "deployment", "web", "--replicas=4")
    refused = kubectl("apply", "--server-side", "--field-manager=ci", "-f", "-", stdin=text, check=False)
    assert refused.stderr.startswith(
        'error: Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using apps/v1:'
        " .spec.replicas\nPlease review the fields above--they currently have other managers."
    )
    forced = kubectl("apply", "--server-side", "--field-manager=ci", "--force-conflicts", "-f", "-", stdin=text)
    assert "serverside-applied" in forced.stdout
    shown = kubectl("get", "deployment", "web", "-o", "yaml", "--show-managed-fields").stdout
    assert "manager: ci" in shown


def test_ephemeral_containers_come_through_their_own_door(call: Raw) -> None:
    call("POST", f"{CORE}/serviceaccounts", {"metadata": {"name": "default"}})
    made(call("POST", PATHS["Pod"], POD))
    path = f"{PATHS['Pod']}/p/ephemeralcontainers"
    added = {"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}}
    pod = made(call("PATCH", path, added, STRATEGIC))
    assert pod["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"] == "File"  # defaulted like the others
    assert call("PATCH", f"{PATHS['Pod']}/p", {"spec": {"ephemeralContainers": [
        {"name": "f", "image": "i"}]}}, STRATEGIC).code == 422  # fmt: skip
    twin = {"spec": {"ephemeralContainers": [{"name": "c", "image": "i"}]}}
    refused = call("PATCH", path, twin, STRATEGIC)
    assert ("FieldValueDuplicate", 'Duplicate value: "c"') in [cause[1:] for cause in refused.causes]
    warned = call("PATCH", path, {"spec": {"ephemeralContainerz": []}}, STRATEGIC)
    assert warned.warnings == ['unknown field "spec.ephemeralContainerz"']
    image = call("PATCH", f"{PATHS['Pod']}/p", {"spec": {"containers": [{"name": "c", "image": "j"}]}}, STRATEGIC)
    assert made(image)["spec"]["containers"][0]["image"] == "j"
    refused = call("PATCH", f"{PATHS['Pod']}/p", {"spec": {"hostname": "h"}}, STRATEGIC)
    assert "pod updates may not change fields other than `spec.containers[*].image`" in refused.obj["message"]


def test_a_service_that_turns_inward_loses_what_was_for_outside() -> None:
    assert SERVICE_KIND.kind == "Service"
    old = {"spec": {
        "type": "LoadBalancer", "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": True,
        "loadBalancerClass": "a/b", "ports": [],
    }}  # fmt: skip
    new = {"spec": {**old["spec"], "type": "ClusterIP"}}
    inherit(new, old)
    assert new["spec"] == {"type": "ClusterIP", "ports": []}
    asked = {"spec": {**old["spec"], "type": "ClusterIP", "externalTrafficPolicy": "Local"}}
    inherit(asked, old)
    assert asked["spec"]["externalTrafficPolicy"] == "Local"  # asked for, so it is judged


@pytest.mark.parametrize("part", ["finalizers", "ownerReferences"])
def test_finalizers_hold_and_go(call: Raw, part: str) -> None:
    body = changed(CONFIG, "metadata.finalizers", ["example.org/x"])
    made(call("POST", PATHS["ConfigMap"], body))
    path = f"{PATHS['ConfigMap']}/conf"
    dying = made(call("DELETE", path))
    assert dying["metadata"]["deletionTimestamp"]
    more = call("PATCH", path, {"metadata": {"finalizers": ["example.org/x", "example.org/y"]}}, MERGE)
    assert "no new finalizers can be added if the object is being deleted" in more.obj["message"]
    assert made(call("PATCH", path, {"metadata": {part: None}}, MERGE))
    assert call("GET", path).code == (404 if part == "finalizers" else 200)
