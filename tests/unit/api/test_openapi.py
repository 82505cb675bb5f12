import json
import re

import pytest

from clew.api import openapi, shapes
from clew.api.kinds import KINDS, Kind

WIDGET = Kind("example.org", "v1", "Widget", "widgets", True, subresources=("status",))
CRD = {
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org", "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {
            "type": "object", "description": "A widget.", "properties": {"spec": {"type": "object"}},
        }}}],
    },
}  # fmt: skip
GROUP_VERSIONS = sorted({kind.api_version for kind in KINDS})


def document(group_version: str) -> dict:
    return json.loads(openapi.document(group_version, [*KINDS, WIDGET], [CRD]))


@pytest.mark.parametrize("group_version", [*GROUP_VERSIONS, "example.org/v1"])
def test_a_document_describes_every_kind_of_its_version_and_refers_to_nothing_that_it_lacks(group_version: str) -> None:
    found = document(group_version)
    schemas = found["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(found))) <= schemas.keys()
    described = {
        (each["group"], each["version"], each["kind"])
        for schema in schemas.values()
        for each in schema.get("x-kubernetes-group-version-kind", ())
    }
    for kind in [each for each in [*KINDS, WIDGET] if each.api_version == group_version]:
        assert (kind.group, kind.version, kind.kind) in described
        assert any(path.startswith(kind.prefix) for path in found["paths"])


@pytest.mark.parametrize(
    "kind", [kind for kind in [*KINDS, WIDGET] if "patch" in kind.verbs], ids=lambda kind: kind.kind
)
def test_kubectl_sees_that_the_server_validates_fields_and_runs_dry(kind: Kind) -> None:
    patch = document(kind.api_version)["paths"][kind.path("{namespace}", "{name}")]["patch"]
    identity = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    assert patch["x-kubernetes-group-version-kind"] == identity
    assert patch["x-kubernetes-action"] == "patch"
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} == {each["name"] for each in patch["parameters"]}


def test_patch_strategies_are_told() -> None:
    containers = document("v1")["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["items"] == {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}]}


def test_the_index_names_a_document_by_its_content() -> None:
    paths = openapi.index([*KINDS, WIDGET], [CRD])["paths"]
    assert set(paths) == {
        f"apis/{each}" if "/" in each else f"api/{each}" for each in [*GROUP_VERSIONS, "example.org/v1"]
    }
    changed = json.loads(json.dumps(CRD))
    changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["type"] = "string"
    after = openapi.index([*KINDS, WIDGET], [changed])["paths"]
    assert [each for each in paths if paths[each] != after[each]] == ["apis/example.org/v1"]


def test_a_custom_kind_keeps_its_schema_and_gets_the_common_fields() -> None:
    schemas = document("example.org/v1")["components"]["schemas"]
    assert schemas["org.example.v1.Widget"]["description"] == "A widget."
    assert set(schemas["org.example.v1.Widget"]["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
    assert "org.example.v1.WidgetList" in schemas


def test_what_is_not_served_has_no_document() -> None:
    with pytest.raises(KeyError):
        openapi.document("nowhere/v1", KINDS, [])


def test_every_kind_has_a_shape_and_no_shape_points_nowhere() -> None:
    for kind in KINDS:
        assert shapes.of_kind(kind) is not None, kind
    for name in shapes._all().types:
        for shape in shapes.struct(name).fields.values():
            inner = shape.item or shape
            assert not inner.type or inner.type in shapes._all().types
