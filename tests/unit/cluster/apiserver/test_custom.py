"""CustomResourceDefinitions: served at once and whole, held to their schema on every way in, gone with their things."""

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Answer, Raw
from .samples import CRD, CRDS, MERGE, WIDGET, WIDGETS

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def widget(**spec: Any) -> Any:
    return {**WIDGET, "spec": {"size": 3, **spec}}


def made(answer: Answer) -> Any:
    assert answer.code in {200, 201}, answer.text
    return answer.obj


@pytest.fixture
def served(call: Raw) -> Raw:
    made(call("POST", CRDS, CRD))
    return call


def test_a_definition_is_served_at_once(call: Raw) -> None:
    assert call("GET", WIDGETS).code == 404
    crd = made(call("POST", CRDS, CRD))
    assert {each["type"]: each["status"] for each in crd["status"]["conditions"]} == {
        "NamesAccepted": "True", "Established": "True",
    }  # fmt: skip
    assert crd["status"]["storedVersions"] == ["v1"]
    assert crd["spec"]["names"]["listKind"] == "WidgetList"
    obj = made(call("POST", WIDGETS, WIDGET))
    assert obj["spec"] == {"size": 3, "color": "red", "replicas": 1}
    assert obj["metadata"]["generation"] == 1
    assert made(call("GET", WIDGETS))["kind"] == "WidgetList"
    assert made(call("GET", f"{WIDGETS}?fieldSelector=spec.color=blue"))["items"] == []
    assert len(made(call("GET", f"{WIDGETS}?fieldSelector=spec.color=red"))["items"]) == 1
    assert call("GET", f"{WIDGETS}?fieldSelector=spec.size=3").code == 400


WRONG: list[tuple[Any, list[tuple[str, str, str]]]] = [
    ({"size": "big"}, [("spec.size", "FieldValueTypeInvalid",
                        'Invalid value: "string": spec.size in body must be of type integer: "string"')]),
    ({"size": 10}, [("spec.size", "FieldValueInvalid",
                     "Invalid value: 10: spec.size in body should be less than or equal to 9")]),
    ({"size": 0}, [("spec.size", "FieldValueInvalid",
                    "Invalid value: 0: spec.size in body should be greater than or equal to 1")]),
    ({"color": "green"}, [("spec.color", "FieldValueNotSupported",
                           'Unsupported value: "green": supported values: "red", "blue"')]),
    ({"ports": [{"name": "x"}]}, [("spec.ports[0].port", "FieldValueRequired", "Required value")]),
    ({"ports": [{"port": 1}, {"port": 1}]}, [("spec.ports[1]", "FieldValueDuplicate", 'Duplicate value: {"port":1}')]),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "causes"), WRONG)
def test_its_schema_is_checked_on_every_way_in(served: Raw, spec: Any, causes: list) -> None:
    refused = served("POST", WIDGETS, widget(**spec))
    assert (refused.code, refused.causes) == (422, causes)
    field, _, message = causes[0]
    assert refused.obj["message"] == f'Widget.example.com "w" is invalid: {field}: {message}'
    assert served("GET", f"{WIDGETS}/w").code == 404
    first = made(served("POST", WIDGETS, WIDGET))
    ways = [
        served("PUT", f"{WIDGETS}/w", {**first, "spec": {**first["spec"], **spec}}),
        served("PATCH", f"{WIDGETS}/w", {"spec": spec}, MERGE),
        served("PATCH", f"{WIDGETS}/w", [{"op": "add", "path": f"/spec/{key}", "value": spec[key]} for key in spec],
               JSON_PATCH),
    ]  # fmt: skip
    assert [answer.causes for answer in ways] == [causes] * 3
    applied = served("PATCH", f"{WIDGETS}/w?fieldManager=a&force=true", widget(**spec), APPLY)
    assert applied.code in {422, 500}  # what cannot be merged is refused before it could be checked
    assert made(served("GET", f"{WIDGETS}/w")) == first


def test_what_is_required(served: Raw) -> None:
    refused = served("POST", WIDGETS, {"metadata": {"name": "w"}})
    assert refused.causes == [("spec", "FieldValueRequired", "Required value")]
    put = served("POST", WIDGETS, {**WIDGET, "spec": {}})
    assert put.causes == [("spec.size", "FieldValueRequired", "Required value")]


def test_unknown_fields_are_pruned_and_told_on_every_way_in(served: Raw) -> None:
    told = ['unknown field "spec.bogus"']
    first = served("POST", WIDGETS, widget(bogus=1, free={"any": [1]}))
    assert (first.code, first.warnings) == (201, told)
    assert first.obj["spec"] == {"size": 3, "free": {"any": [1]}, "color": "red", "replicas": 1}
    path = f"{WIDGETS}/w"
    ways = [
        served("PUT", path, {**first.obj, "spec": {**first.obj["spec"], "bogus": 2}}),
        served("PATCH", path, {"spec": {"bogus": 1}}, MERGE),
        served("PATCH", path, [{"op": "add", "path": "/spec/bogus", "value": 1}], JSON_PATCH),
    ]
    for answer in ways:
        assert (answer.code, answer.warnings) == (200, told)
        assert "bogus" not in answer.obj["spec"]
    strict = served("POST", f"{WIDGETS}?fieldValidation=Strict", {**widget(bogus=1), "metadata": {"name": "x"}})
    assert strict.obj["message"] == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.bogus"'
    )
    assert served("PATCH", f"{path}?fieldManager=a", widget(bogus=1), APPLY).code == 500
    status = served("PATCH", f"{path}/status", {"status": {"ready": True, "bogus": 1}}, MERGE)
    assert status.obj["status"] == {"ready": True}
    assert served("PATCH", path, {}, STRATEGIC).code == 415


def test_the_status_has_a_door_of_its_own(served: Raw) -> None:
    first = made(served("POST", WIDGETS, {**WIDGET, "status": {"ready": True}}))
    assert "status" not in first
    told = made(served("PATCH", f"{WIDGETS}/w/status", {"spec": {"size": 5}, "status": {"ready": True}}, MERGE))
    assert (told["spec"]["size"], told["status"], told["metadata"]["generation"]) == (3, {"ready": True}, 1)
    wrong = served("PATCH", f"{WIDGETS}/w/status", {"status": {"ready": "yes"}}, MERGE)
    assert [field for field, _, _ in wrong.causes] == ["status.ready"]
    changed = made(served("PATCH", f"{WIDGETS}/w", {"spec": {"size": 5}, "status": {"ready": False}}, MERGE))
    assert (changed["spec"]["size"], changed["status"], changed["metadata"]["generation"]) == (5, {"ready": True}, 2)


def test_scale_goes_by_the_paths_it_names(served: Raw) -> None:
    made(served("POST", WIDGETS, WIDGET))
    made(served("PATCH", f"{WIDGETS}/w/status", {"status": {"replicas": 1, "selector": "a=b"}}, MERGE))
    scale = made(served("GET", f"{WIDGETS}/w/scale"))
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 1, "selector": "a=b"})
    made(served("PATCH", f"{WIDGETS}/w/scale", {"spec": {"replicas": 4}}, MERGE))
    assert made(served("GET", f"{WIDGETS}/w"))["spec"]["replicas"] == 4


def test_apply_knows_its_lists(served: Raw) -> None:
    path = f"{WIDGETS}/w?fieldManager="
    made(served("PATCH", f"{path}one", widget(ports=[{"port": 1, "name": "a"}]), APPLY))
    both = made(served("PATCH", f"{path}two", {**WIDGET, "spec": {"ports": [{"port": 2}]}}, APPLY))
    assert both["spec"]["ports"] == [{"port": 1, "name": "a"}, {"port": 2}]
    taken = served("PATCH", f"{path}two", {**WIDGET, "spec": {"size": 7}}, APPLY)
    assert taken.obj["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.size'


def test_what_is_read_follows_the_schema_of_today(served: Raw) -> None:
    """A default that came later used to be missing from all that was stored before."""
    made(served("POST", WIDGETS, widget(free={"a": 1})))
    crd = made(served("GET", f"{CRDS}/widgets.example.com"))
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    fields["shape"] = {"type": "string", "default": "round"}
    del fields["free"]
    made(served("PUT", f"{CRDS}/widgets.example.com", crd))
    for obj in (made(served("GET", f"{WIDGETS}/w")), made(served("GET", WIDGETS))["items"][0]):
        assert obj["spec"] == {"size": 3, "color": "red", "replicas": 1, "shape": "round"}


def test_two_versions_are_one_object(served: Raw) -> None:
    crd = made(served("GET", f"{CRDS}/widgets.example.com"))
    newer = json.loads(json.dumps(crd["spec"]["versions"][0])) | {"name": "v2", "storage": False}
    newer["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["extra"] = {"type": "string"}
    crd["spec"]["versions"].append(newer)
    made(served("PUT", f"{CRDS}/widgets.example.com", crd))
    path = "/apis/example.com/v2/namespaces/default/widgets"
    made(served("POST", path, {**widget(extra="e"), "apiVersion": "example.com/v2"}))
    assert made(served("GET", f"{path}/w"))["spec"]["extra"] == "e"
    old = made(served("GET", f"{WIDGETS}/w"))
    assert (old["apiVersion"], "extra" in old["spec"]) == ("example.com/v1", False)
    group = made(served("GET", "/apis/example.com"))
    assert [each["version"] for each in group["versions"]] == ["v2", "v1"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"names": {**CRD["spec"]["names"], "plural": "gadgets"}}, "metadata.name"),
        ({"scope": "Galaxy"}, "spec.scope"),
        ({"versions": []}, "spec.versions"),
        ({"versions": [{**CRD["spec"]["versions"][0], "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"properties": {}}}}}}]},
         "spec.versions[0].schema.openAPIV3Schema.properties[spec].type"),
        ({"versions": [{**CRD["spec"]["versions"][0], "storage": False}]}, "spec.versions"),
    ],
)  # fmt: skip
def test_a_wrong_definition(call: Raw, change: dict, field: str) -> None:
    refused = call("POST", CRDS, {**CRD, "spec": {**CRD["spec"], **change}})
    assert refused.code == 422
    assert refused.causes[0][0].startswith(field), refused.causes
    assert call("GET", WIDGETS).code == 404


def conditions(crd: Any) -> dict[str, tuple[str, str, str]]:
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in crd["status"]["conditions"]}


def named(plural: str, **names: Any) -> Any:
    """A definition with other names, in the same group."""
    other = {"plural": plural, "kind": plural.title(), **names}
    return {
        "metadata": {"name": f"{plural}.example.com"}, "spec": {**CRD["spec"], "names": other},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("other", "reason", "name"),
    [
        (named("gadgets", kind="Widget", listKind="Gadgets"), "KindConflict", "Widget"),
        (named("gadgets", shortNames=["wd", "gg"]), "ShortNamesConflict", "wd"),
        (named("gadgets", singular="widget"), "SingularConflict", "widget"),
        (named("wd", singular="gg", kind="Gadget"), "PluralConflict", "wd"),
    ],
)
def test_a_name_has_one_holder(served: Raw, other: Any, reason: str, name: str) -> None:
    """The second used to be served beside the first, under the same name."""
    plural = other["spec"]["names"]["plural"]
    second = made(served("POST", CRDS, other))
    assert conditions(second) == {
        "NamesAccepted": ("False", reason, f'"{name}" is already in use'),
        "Established": ("False", "NotAccepted", "not all names are accepted"),
    }
    path = f"/apis/example.com/v1/namespaces/default/{plural}"
    assert served("GET", path).code == 404
    made(served("DELETE", f"{CRDS}/widgets.example.com"))
    ends = time.monotonic() + 60
    while served("GET", path).code != 200:  # the name is free
        assert time.monotonic() < ends
    crd = made(served("GET", f"{CRDS}/{plural}.example.com"))
    assert {kind: status for kind, (status, _, _) in conditions(crd).items()} == {
        "NamesAccepted": "True", "Established": "True",
    }  # fmt: skip
    assert crd["status"]["acceptedNames"]["plural"] == plural
    made(served("DELETE", f"{CRDS}/{plural}.example.com"))


def test_what_is_built_in_is_not_defined_anew(call: Raw) -> None:
    """Such a definition's end took every object of the built-in kind with it."""
    names = {"plural": "endpointslices", "kind": "EndpointSlice"}
    spec = {**CRD["spec"], "group": "discovery.k8s.io", "names": names}
    crd: Any = {**CRD, "metadata": {"name": "endpointslices.discovery.k8s.io"}, "spec": spec}
    refused = call("POST", CRDS, crd)
    assert refused.causes == [(
        "metadata.annotations[api-approved.kubernetes.io]", "FieldValueRequired",
        ('Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see'
        " https://github.com/kubernetes/enhancements/pull/1111"),
    )]  # fmt: skip
    crd["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test"}
    told = conditions(made(call("POST", CRDS, crd)))
    assert told["NamesAccepted"][:2] == ("False", "ListKindConflict")
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    before = made(call("GET", slices))["items"]
    assert before
    made(call("DELETE", f"{CRDS}/endpointslices.discovery.k8s.io"))
    ends = time.monotonic() + 60
    while call("GET", f"{CRDS}/endpointslices.discovery.k8s.io").code != 404:
        assert time.monotonic() < ends
    assert made(call("GET", slices))["items"] == before
    assert "endpoints" in call("GET", "/openapi/v3/apis/discovery.k8s.io/v1").text


def test_it_goes_with_its_objects(served: Raw) -> None:
    made(served("POST", WIDGETS, {**WIDGET, "metadata": {"name": "w", "finalizers": ["example.com/x"]}}))
    made(served("DELETE", f"{CRDS}/widgets.example.com"))
    late = served("POST", WIDGETS, {**WIDGET, "metadata": {"name": "late"}})
    assert (late.code, late.obj["message"]) == (
        405, "create not allowed while custom resource definition is terminating",
    )  # fmt: skip
    made(served("PATCH", f"{WIDGETS}/w", {"metadata": {"finalizers": None}}, MERGE))
    ends = time.monotonic() + 60
    while served("GET", f"{CRDS}/widgets.example.com").code != 404:
        assert time.monotonic() < ends
    assert served("GET", WIDGETS).code == 404
    made(served("POST", CRDS, CRD))
    assert made(served("GET", WIDGETS))["items"] == []


def test_kubectl_knows_it(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps(CRD))
    kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=60s")
    kubectl("apply", "-f", "-", stdin=json.dumps(WIDGET))
    assert kubectl("get", "wd").stdout.splitlines()[0].split() == ["NAME", "SIZE", "AGE"]
    assert kubectl("get", "widgets", "-o", "wide").stdout.splitlines()[1].split()[:3] == ["w", "3", "red"]
    assert "widget.example.com/w" in kubectl("get", "all", "-o", "name").stdout
    listed = kubectl("api-resources", "--api-group=example.com").stdout.splitlines()[1].split()
    assert listed == ["widgets", "wd", "example.com/v1", "true", "Widget"]
    explained = kubectl("explain", "widget").stdout
    assert "A widget to be had in several sizes." in explained
    assert "How large it is." in kubectl("explain", "wd.spec.size").stdout
    assert "ports" in kubectl("explain", "widgets", "--recursive").stdout
    kubectl("scale", "widget", "w", "--replicas=3")
    assert kubectl("get", "wd", "w", "-o", "jsonpath={.spec.replicas}").stdout == "3"
    wrong = json.dumps(widget(bogus=1) | {"metadata": {"name": "v"}})
    assert 'unknown field "spec.bogus"' in kubectl("create", "-f", "-", stdin=wrong, check=False).stderr
    kubectl("patch", "wd", "w", "--type=merge", "--subresource=status", "-p", '{"status":{"ready":true}}')
    assert kubectl("get", "wd", "w", "-o", "jsonpath={.status.ready}").stdout == "true"
    assert "Size:" in kubectl("describe", "widget", "w").stdout
    kubectl("delete", "crd", "widgets.example.com", "--timeout=60s")
    assert kubectl("get", "wd", check=False).returncode == 1
