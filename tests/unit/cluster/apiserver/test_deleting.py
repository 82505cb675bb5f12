"""What goes, when, and what is said of it: grace, finalizers, propagation, preconditions, whole collections."""

from typing import Any

import pytest

from .conftest import Raw
from .samples import CONFIG, CORE, MERGE, PATHS, POD, SERVICE, changed

MAPS, PODS = PATHS["ConfigMap"], PATHS["Pod"]


def made(call: Raw, path: str, body: Any) -> Any:
    answer = call("POST", path, body)
    assert answer.code == 201, answer.text
    return answer.obj


@pytest.fixture
def pod(call: Raw) -> Any:
    """A pod that has a node, so that somebody must stop it."""
    made(call, f"{CORE}/serviceaccounts", {"metadata": {"name": "default"}})
    made(call, PODS, POD)
    bound = call("POST", f"{PODS}/p/binding", {"target": {"kind": "Node", "name": "n"}})
    assert bound.code == 201, bound.text
    return call("GET", f"{PODS}/p").obj


def test_a_deletion_answers_with_what_it_did(call: Raw) -> None:
    obj = made(call, MAPS, CONFIG)
    gone = call("DELETE", f"{MAPS}/conf").obj
    assert (gone["kind"], gone["status"]) == ("Status", "Success")
    assert gone["details"] == {"name": "conf", "kind": "configmaps", "uid": obj["metadata"]["uid"]}
    missing = call("DELETE", f"{MAPS}/conf")
    assert (missing.code, missing.obj["message"]) == (404, 'configmaps "conf" not found')
    made(call, PATHS["Service"], SERVICE)
    assert call("DELETE", f"{PATHS['Service']}/web").obj["kind"] == "Service"  # one of the kinds that show themselves


def test_a_pod_has_its_grace(call: Raw, pod: Any) -> None:
    dying = call("DELETE", f"{PODS}/p").obj
    assert dying["metadata"]["deletionGracePeriodSeconds"] == 30
    assert dying["metadata"]["deletionTimestamp"] > pod["metadata"]["creationTimestamp"]
    assert dying["metadata"]["generation"] == 2
    longer = call("DELETE", f"{PODS}/p?gracePeriodSeconds=60").obj
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 30  # only ever shortened
    sooner = call("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 5}).obj
    assert sooner["metadata"]["deletionGracePeriodSeconds"] == 5
    assert call("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0}).code == 200
    assert call("GET", f"{PODS}/p").code == 404


def test_a_pod_that_nobody_runs_goes_at_once(call: Raw) -> None:
    made(call, f"{CORE}/serviceaccounts", {"metadata": {"name": "default"}})
    made(call, PODS, POD)
    assert call("DELETE", f"{PODS}/p").code == 200
    assert call("GET", f"{PODS}/p").code == 404


def test_an_eviction_is_a_polite_deletion(call: Raw, pod: Any) -> None:
    refused = call("POST", f"{PODS}/p/eviction", {"metadata": {"name": "other"}})
    assert refused.obj["message"] == "name in URL does not match name in Eviction object: p != other"
    dry = call("POST", f"{PODS}/p/eviction", {"metadata": {"name": "p"}, "deleteOptions": {"dryRun": ["All"]}})
    assert dry.code == 201
    assert call("GET", f"{PODS}/p").obj == pod
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert call("POST", f"{PODS}/p/eviction", body).code == 201
    assert "deletionTimestamp" in call("GET", f"{PODS}/p").obj["metadata"]


def test_preconditions(call: Raw) -> None:
    obj = made(call, MAPS, CONFIG)
    uid, version = obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]
    for wrong in ({"uid": "x"}, {"resourceVersion": "1"}):
        answer = call("DELETE", f"{MAPS}/conf", {"preconditions": wrong})
        assert (answer.code, answer.obj["reason"]) == (409, "Conflict")
        assert "in the precondition" in answer.obj["message"]
    assert call("DELETE", f"{MAPS}/conf", {"preconditions": {"uid": uid, "resourceVersion": version}}).code == 200


@pytest.mark.parametrize(
    ("options", "finalizers"),
    [
        ({"propagationPolicy": "Foreground"}, ["foregroundDeletion"]),
        ({"propagationPolicy": "Orphan"}, ["orphan"]),
        ({"orphanDependents": True}, ["orphan"]),
        ({"propagationPolicy": "Background"}, None),
        ({}, None),
    ],
)
def test_propagation_is_left_to_the_collector(call: Raw, options: Any, finalizers: Any) -> None:
    made(call, MAPS, CONFIG)
    assert call("DELETE", f"{MAPS}/conf", options).code == 200
    left = call("GET", f"{MAPS}/conf")
    assert left.code == (200 if finalizers else 404)
    if finalizers:
        assert left.obj["metadata"]["finalizers"] == finalizers
        call("PATCH", f"{MAPS}/conf", {"metadata": {"finalizers": None}}, MERGE)
        assert call("GET", f"{MAPS}/conf").code == 404


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"propagationPolicy": "Sideways"}, 422, 'propagationPolicy: Unsupported value: "Sideways"'),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, 422, "cannot be both set"),
        ({"dryRun": ["Some"]}, 422, 'dryRun: Unsupported value: "Some": supported values: "All"'),
        ({"gracePeriodSeconds": "soon"}, 400, "cannot unmarshal string into Go struct field DeleteOptions.grace"),
        ([], 400, "the request's body must be an object"),
    ],
)
def test_options_that_cannot_be_meant(ask: Raw, options: Any, code: int, message: str) -> None:
    ask("POST", MAPS, CONFIG)
    answer = ask("DELETE", f"{MAPS}/conf", options)
    assert answer.code == code, answer.text
    assert message in answer.obj["message"]
    assert ask("GET", f"{MAPS}/conf").code == 200


def test_a_collection_goes_by_selector(call: Raw) -> None:
    for name, app in (("a", "x"), ("b", "x"), ("c", "y")):
        body = changed(changed(CONFIG, "metadata.name", name), "metadata.labels", {"app": app})
        made(call, MAPS, body)
    gone = call("DELETE", f"{MAPS}?labelSelector=app%3Dx")
    assert (gone.obj["kind"], len(gone.obj["items"])) == ("ConfigMapList", 2)
    assert [each["metadata"]["name"] for each in call("GET", MAPS).obj["items"]] == ["c"]
    assert call("DELETE", MAPS).code == 200
    assert call("GET", MAPS).obj["items"] == []


def test_a_namespace_goes_when_its_finalizer_does(call: Raw) -> None:
    space = "/api/v1/namespaces"
    assert made(call, space, {"metadata": {"name": "n"}})["spec"] == {"finalizers": ["kubernetes"]}
    made(call, f"{space}/n/configmaps", CONFIG)
    dying = call("DELETE", f"{space}/n").obj
    assert dying["status"]["phase"] == "Terminating"
    late = call("POST", f"{space}/n/configmaps", changed(CONFIG, "metadata.name", "late"))
    assert (late.code, late.obj["message"]) == (
        403,
        'configmaps "late" is forbidden: unable to create new content in namespace n because it is being terminated',
    )
    assert late.causes[0][:2] == ("metadata.namespace", "NamespaceTerminating")
    kept = call("PATCH", f"{space}/n", {"spec": {"finalizers": []}}, MERGE).obj
    assert kept["spec"]["finalizers"] == ["kubernetes"]  # only by the door that is meant for it
    assert call("PUT", f"{space}/n/finalize", {"metadata": {"name": "n"}, "spec": {"finalizers": []}}).code == 200
    assert call("GET", f"{space}/n").code == 404
    for name in ("default", "kube-system"):
        refused = call("DELETE", f"{space}/{name}")
        assert (refused.code, refused.obj["message"]) == (
            403, f'namespaces "{name}" is forbidden: this namespace may not be deleted',
        )  # fmt: skip


def test_a_binding_is_made_once(call: Raw, pod: Any) -> None:
    assert pod["spec"]["nodeName"] == "n"
    assert pod["status"]["conditions"][0]["type"] == "PodScheduled"
    again = call("POST", f"{PODS}/p/binding", {"target": {"kind": "Node", "name": "m"}})
    assert (again.code, again.obj["message"]) == (
        409, 'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n"',
    )  # fmt: skip
    nothing = call("POST", f"{PODS}/p/binding", {"target": {}})
    assert nothing.causes == [("target.name", "FieldValueRequired", "Required value")]
