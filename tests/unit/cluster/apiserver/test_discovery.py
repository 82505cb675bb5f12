"""What the server says of itself: groups and kinds in three languages, schemas, tables, health."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from clew.api.kinds import CREATE_ONLY, KINDS, Kind
from clew.cluster.tables import table

from .conftest import Raw, Running
from .samples import CRD, CRDS

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
STORED = [kind for kind in KINDS if kind.verbs != CREATE_ONLY]
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def every_resource(call: Raw) -> dict[tuple[str, str, str], Any]:
    """(group, version, resource) to what aggregated discovery says of it."""
    found = {}
    for root in ("/api", "/apis"):
        for group in call("GET", root, Accept=AGGREGATED).obj["items"]:
            for version in group["versions"]:
                for resource in version["resources"]:
                    found[group["metadata"].get("name", ""), version["version"], resource["resource"]] = resource
    return found


def test_aggregated_discovery_is_one_document_a_root(ask: Raw) -> None:
    found = every_resource(ask)
    assert set(found) == {(kind.group, kind.version, kind.plural) for kind in KINDS}
    deployments = found["apps", "v1", "deployments"]
    assert (deployments["scope"], deployments["singularResource"], deployments["shortNames"]) == (
        "Namespaced", "deployment", ["deploy"],
    )  # fmt: skip
    scale = next(each for each in deployments["subresources"] if each["subresource"] == "scale")
    assert scale["responseKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}


def test_the_classic_lists_say_the_same(ask: Raw) -> None:
    found = every_resource(ask)
    listed = {}
    for group in ask("GET", "/apis").obj["groups"]:
        assert ask("GET", f"/apis/{group['name']}").obj["preferredVersion"] == group["preferredVersion"]
        for version in group["versions"]:
            resources = ask("GET", f"/apis/{version['groupVersion']}").obj["resources"]
            listed |= {(group["name"], version["version"], each["name"]): each for each in resources}
    listed |= {("", "v1", each["name"]): each for each in ask("GET", "/api/v1").obj["resources"]}
    assert {key for key in listed if "/" not in key[2]} == set(found)
    for key, resource in found.items():
        assert listed[key]["verbs"] == resource["verbs"]
        assert listed[key]["namespaced"] == (resource["scope"] == "Namespaced")
        parts = {each["subresource"] for each in resource.get("subresources") or ()}
        assert {name.partition("/")[2] for group, version, name in listed
                if (group, version) == key[:2] and name.startswith(f"{key[2]}/")} == parts  # fmt: skip
    assert ask("GET", "/apis/nothing.example.com").code == 404
    nowhere = ask("GET", "/apis/apps/v9/deployments")
    assert (nowhere.code, nowhere.text) == (404, "404 page not found\n")  # clients say the rest
    assert "/apis/apps/v1" in ask("GET", "/").obj["paths"]


def test_a_custom_kind_is_in_all_of_them_at_once(call: Raw) -> None:
    before = call("GET", "/openapi/v3").obj["paths"]
    call("POST", CRDS, CRD)
    widgets = every_resource(call)["example.com", "v1", "widgets"]
    assert (widgets["shortNames"], widgets["categories"]) == (["wd"], ["all"])
    assert {each["subresource"] for each in widgets["subresources"]} == {"status", "scale"}
    paths = call("GET", "/openapi/v3").obj["paths"]
    assert "apis/example.com/v1" in set(paths) - set(before)
    document = call("GET", paths["apis/example.com/v1"]["serverRelativeURL"]).obj
    schema = document["components"]["schemas"]["com.example.v1.Widget"]
    assert schema["x-kubernetes-group-version-kind"] == [{"group": "example.com", "kind": "Widget", "version": "v1"}]
    assert schema["properties"]["spec"]["properties"]["size"]["description"] == "How large it is."
    assert "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}" in document["paths"]
    assert "com.example.v1.Widget" in call("GET", "/openapi/v2").obj["definitions"]
    call("DELETE", f"{CRDS}/widgets.example.com")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_every_kind_has_a_schema(ask: Raw, kind: Kind) -> None:
    index = ask("GET", "/openapi/v3").obj["paths"]
    document = ask("GET", index[kind.prefix[1:]]["serverRelativeURL"]).obj
    told = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    named = [
        name for name, schema in document["components"]["schemas"].items()
        if told in (schema.get("x-kubernetes-group-version-kind") or ())
    ]  # fmt: skip
    assert len(named) == 1
    assert kind.path("{namespace}") in document["paths"] or kind.path() in document["paths"]


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: f"{kind.plural}.{kind.group}")
def test_every_kind_is_a_table_and_metadata_alone(shared: Running, ask: Raw, kind: Kind) -> None:
    columns = table(kind, [], "Metadata", shared.clock.now(), None)["columnDefinitions"]
    shown = ask("GET", kind.path(), Accept=TABLE).obj
    assert (shown["kind"], shown["columnDefinitions"]) == ("Table", columns)
    assert columns[0]["name"] == "Name" or kind.plural == "events"
    for row in shown["rows"]:
        assert len(row["cells"]) == len(columns)
        assert row["object"]["kind"] == "PartialObjectMetadata"
    whole = ask("GET", f"{kind.path()}?includeObject=Object", Accept=TABLE).obj
    assert all(row["object"]["kind"] == kind.kind for row in whole["rows"])
    bare = ask("GET", kind.path(), Accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").obj
    assert bare["kind"] == "PartialObjectMetadataList"
    assert all(sorted(each) == ["apiVersion", "kind", "metadata"] for each in bare["items"])


def test_a_language_that_is_not_spoken_is_406(ask: Raw) -> None:
    answer = ask("GET", "/api/v1/pods", Accept="application/vnd.kubernetes.protobuf")
    assert (answer.code, answer.obj["reason"]) == (406, "NotAcceptable")
    both = ask("GET", "/api/v1/pods", Accept="application/vnd.kubernetes.protobuf,application/json")
    assert both.code == 200


def test_health_and_version(ask: Raw) -> None:
    for path in ("/healthz", "/livez", "/readyz", "/livez/ping"):
        answer = ask("GET", path)
        assert (answer.code, answer.text) == (200, "ok")
    assert "[+]ping ok" in ask("GET", "/readyz?verbose").text
    version = ask("GET", "/version").obj
    assert version["gitVersion"].startswith(f"v{version['major']}.{version['minor']}.")
    assert ask("POST", "/version", {}).code == 405
    assert ask("GET", "/nothing").code == 404


def test_kubectl_finds_its_way(kubectl: Kubectl) -> None:
    names = kubectl("api-resources", "-o", "name").stdout.split()
    assert {f"{kind.plural}.{kind.group}".rstrip(".") for kind in KINDS} == set(names)
    assert "apps/v1" in kubectl("api-versions").stdout.split()
    for path in ("pod.spec.containers.ports", "service.spec", "deployment.spec.strategy", "endpointslices.endpoints"):
        assert "FIELDS:" in kubectl("explain", path).stdout
    assert "Server Version" in kubectl("version").stdout
    assert kubectl("get", "--raw", "/readyz").stdout == "ok"


def test_openapi_v2_as_a_message_is_one_that_kubectl_reads(ask: Raw) -> None:
    """Answered in JSON, `kubectl create -f` of a `kind: List` ended with `cannot parse invalid wire-format data`."""
    answer = ask("GET", "/openapi/v2", Accept="application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
    assert answer.text.startswith("\x0a\x032.0\x12")
    assert "Kubernetes" in answer.text
