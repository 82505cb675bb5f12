"""Rules in CEL over HTTP: a definition that does not compile is refused, objects are held to it on every way in."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clew.api.kinds import CRD as CRD_KIND
from clew.cluster.admission.cel import compiling
from clew.cluster.apiserver.chores import SELF

from .conftest import Answer, Raw, Running
from .samples import CRDS, MERGE

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
TABS = "/apis/stable.example.com/v1/namespaces/default/crontabs"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
RULE = "self.minReplicas <= self.replicas && self.replicas <= self.maxReplicas"
RANGE = "replicas should be in the range minReplicas..maxReplicas."
SAID = f'spec: Invalid value: "object": {RANGE}'


def definition(*rules: dict) -> dict:
    """The example of the Kubernetes documentation."""
    number = {"type": "integer"}
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object", "x-kubernetes-validations": list(rules),
                "properties": {
                    "minReplicas": number, "replicas": number, "maxReplicas": number,
                    "image": {
                        "type": "string", "enum": ["a", "b"],
                        "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "image is immutable"}],
                    },
                },
            },
            "status": {
                "type": "object", "properties": {"ready": number},
                "x-kubernetes-validations": [{"rule": "!has(self.ready) || self.ready >= 0", "message": "negative"}],
            },
        },
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "crontabs", "kind": "CronTab"},
            "versions": [{
                "name": "v1", "served": True, "storage": True, "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.ready",
                }}, "schema": {"openAPIV3Schema": schema},
            }],
        },
    }  # fmt: skip


CRD = definition({"rule": RULE, "message": RANGE})


def tab(least: int = 1, replicas: int = 2, most: int = 3, **more: Any) -> dict:
    return {
        "apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "tab"},
        "spec": {"minReplicas": least, "replicas": replicas, "maxReplicas": most, **more},
    }  # fmt: skip


def refused(answer: Answer, *said: str) -> None:
    assert answer.code == 422, answer.text
    assert answer.obj["reason"] == "Invalid"
    told = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    assert answer.obj["message"] == f'CronTab.stable.example.com "tab" is invalid: {told}'
    assert [f"{each['field']}: {each['message']}" for each in answer.obj["details"]["causes"]] == list(said)


def made(answer: Answer) -> Any:
    assert answer.code in {200, 201}, answer.text
    return answer.obj


def test_every_way_in_is_held_to_the_rules(call: Raw) -> None:
    made(call("POST", CRDS, CRD))
    refused(call("POST", TABS, tab(replicas=9)), SAID)
    refused(call("POST", f"{TABS}?dryRun=All", tab(replicas=9)), SAID)
    refused(call("PATCH", f"{TABS}/tab?fieldManager=me", tab(replicas=9), APPLY), SAID)
    assert made(call("GET", TABS))["items"] == []
    obj = made(call("POST", TABS, tab()))
    obj["spec"]["replicas"] = 9
    refused(call("PUT", f"{TABS}/tab", obj), SAID)
    refused(call("PATCH", f"{TABS}/tab", {"spec": {"replicas": 9}}, MERGE), SAID)
    change = [{"op": "replace", "path": "/spec/replicas", "value": 9}]
    refused(call("PATCH", f"{TABS}/tab", change, JSON_PATCH), SAID)
    refused(call("PATCH", f"{TABS}/tab?fieldManager=me&force=true", tab(replicas=9), APPLY), SAID)
    scale = made(call("GET", f"{TABS}/tab/scale"))
    scale["spec"]["replicas"] = 9
    assert RANGE in call("PUT", f"{TABS}/tab/scale", scale).text
    negative = 'status: Invalid value: "object": negative'
    refused(call("PATCH", f"{TABS}/tab/status", {"status": {"ready": -1}}, MERGE), negative)
    made(call("PATCH", f"{TABS}/tab/status", {"status": {"ready": 1}}, MERGE))
    assert made(call("PATCH", f"{TABS}/tab", {"spec": {"replicas": 3}}, MERGE))["spec"]["replicas"] == 3


def test_a_change_is_held_to_what_was(call: Raw) -> None:
    made(call("POST", CRDS, CRD))
    made(call("POST", TABS, tab(image="a")))
    said = 'spec.image: Invalid value: "string": image is immutable'
    refused(call("PATCH", f"{TABS}/tab", {"spec": {"image": "b"}}, MERGE), said)
    made(call("PATCH", f"{TABS}/tab", {"spec": {"image": "a", "replicas": 3}}, MERGE))


def test_rules_wait_for_an_object_of_the_right_form(call: Raw) -> None:
    made(call("POST", CRDS, CRD))
    refused(
        call("POST", TABS, tab(replicas=9, image="c")),
        'spec.image: Unsupported value: "c": supported values: "a", "b"',
        "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
        "correct the existing errors to complete validation",
    )


def test_a_rule_that_comes_later_does_not_trap_what_is_there(call: Raw) -> None:
    crd = made(call("POST", CRDS, definition()))
    made(call("POST", TABS, tab(replicas=9)))
    crd["spec"]["versions"] = CRD["spec"]["versions"]
    made(call("PUT", f"{CRDS}/crontabs.stable.example.com", crd))
    made(call("PATCH", f"{TABS}/tab", {"metadata": {"labels": {"a": "b"}}}, MERGE))
    made(call("PATCH", f"{TABS}/tab/status", {"status": {"ready": 1}}, MERGE))
    refused(call("PATCH", f"{TABS}/tab", {"spec": {"maxReplicas": 4}}, MERGE), SAID)
    made(call("PATCH", f"{TABS}/tab", {"spec": {"maxReplicas": 9}}, MERGE))


def test_a_definition_whose_rules_do_not_compile_is_refused(call: Raw) -> None:
    answer = call("POST", CRDS, definition({"rule": RULE}, {"rule": "self.replica > 1"}))
    assert answer.code == 422
    field = "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[1].rule"
    assert [each["field"] for each in answer.obj["details"]["causes"]] == [field]
    assert "compilation failed: ERROR: <input>:1:5: undefined field 'replica'" in answer.text
    assert call("GET", f"{CRDS}/crontabs.stable.example.com").code == 404
    crd = made(call("POST", CRDS, CRD))
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = [{"rule": "1"}]
    answer = call("PUT", f"{CRDS}/crontabs.stable.example.com", crd)
    assert "cel expression must evaluate to a bool" in answer.text
    refused(call("POST", TABS, tab(replicas=9)), SAID)


def test_rules_hold_after_a_restart(tmp_path: Path) -> None:
    server = Running(tmp_path).start()
    call = Raw(server)
    made(call("POST", CRDS, CRD))
    made(call("POST", TABS, tab()))
    server.stop()
    compiling._OUTCOMES.clear()  # as a new process begins
    server = Running(tmp_path).start()
    try:
        call = Raw(server)
        refused(call("PATCH", f"{TABS}/tab", {"spec": {"replicas": 9}}, MERGE), SAID)
        refused(call("POST", TABS, tab(replicas=9)), SAID)
    finally:
        server.stop()


def test_a_patch_is_made_anew_where_others_write_while_rules_are_compiled(running: Running, call: Raw) -> None:
    """The thread that compiles lets the loop go on: what was read before it may be old afterwards."""
    made(call("POST", CRDS, definition()))
    name = "crontabs.stable.example.com"
    strategy = running.server.registry.strategies.of(CRD_KIND)
    think, wrote = strategy.think, []

    async def interrupted(obj: Any) -> None:
        if not wrote:
            wrote.append(name)
            current = running.server.state.get(CRD_KIND, "", name)
            current["metadata"]["labels"] = {"of": "another"}
            await running.server.registry.update(CRD_KIND, "", name, current, SELF)
        await think(obj)

    strategy.think = interrupted  # the moment in between, held still
    crd = made(call("PATCH", f"{CRDS}/{name}", {"spec": {"versions": CRD["spec"]["versions"]}}, MERGE))
    assert crd["metadata"]["labels"] == {"of": "another"}
    assert RULE in str(crd)
    refused(call("POST", TABS, tab(replicas=9)), SAID)


def test_kubectl_tells_it(call: Raw, kubectl: Kubectl) -> None:
    made(call("POST", CRDS, CRD))
    document = json.dumps(tab(0, 20, 10))
    for more in ((), ("--dry-run=server",), ("--server-side",)):
        done = kubectl("apply", "-f", "-", *more, stdin=document, check=False)
        assert done.returncode == 1
        assert done.stderr.strip().endswith(f'The CronTab "tab" is invalid: {SAID}')
