"""Whatever is sent, the answer is the client's fault or success: never a fault of ours, and the server goes on."""

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clew.api import kinds as k
from clew.api import shapes
from clew.api.kinds import CREATE_ONLY, KINDS, Kind
from clew.api.shapes import Shape

from .conftest import Raw
from .samples import CORE, CRD, DEPLOYMENT, MERGE, PATHS, SERVICE

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
STRATEGIC = "application/strategic-merge-patch+json"
WORDS = st.sampled_from(
    ["", "a", "web", "80", "None", "ClusterIP", "TCP", "10.96.0.9", "1Gi", "-1", "a/b", "x" * 300, "é", "\x00"]
)
NUMBERS = st.sampled_from([0, 1, 80, -1, 70000, 2**31, 2**63, 10**30, 1.5])
WHOLE = st.sampled_from([0, 1, 80, 443, -1, 70000, 2**31 - 1])
ANY: Any = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2), max_leaves=5,
)  # fmt: skip
SCALARS: dict[str, Any] = {
    "string": WORDS, "boolean": st.booleans(), "integer": WHOLE, "int32": WHOLE, "number": NUMBERS,
    "int-or-string": WORDS | WHOLE, "quantity": st.sampled_from(["1", "100m", "1Gi", 2, 0.5, "-1", "", "x"]),
    "bytes": st.sampled_from(["", "YQ==", "é"]),
    "time": st.sampled_from(["2026-01-01T00:00:00Z"] * 5 + ["noon"]), "any": ANY,
}  # fmt: skip


def of_shape(shape: Shape, depth: int = 0) -> Any:
    """Mostly what a place may hold, sometimes anything."""
    if depth > 6:
        return st.none()
    match shape.form:
        case "struct":
            fields = {name: st.deferred(lambda inner=inner: of_shape(inner, depth + 1))
                      for name, inner in shape.fields.items() if name != "managedFields"}  # fmt: skip
            names = sorted(fields)
            few = st.lists(st.sampled_from(names), max_size=5, unique=True) if names else st.just([])
            good = few.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))
        case "list":
            good = st.lists(of_shape(shape.item or shapes.ANY, depth + 1), max_size=2)
        case "map":
            good = st.dictionaries(WORDS, of_shape(shape.item or shapes.ANY, depth + 1), max_size=2)
        case form:
            good = SCALARS[form]
    return st.integers(0, 39).flatmap(lambda drawn: ANY if drawn == 7 else good)


def body(kind: Kind) -> Any:
    shape = shapes.of_kind(kind)
    assert shape is not None
    given = {name: of_shape(inner) for name, inner in shapes.struct(shapes.METADATA_TYPE).fields.items()
             if name in {"labels", "annotations", "finalizers", "ownerReferences", "creationTimestamp"}}  # fmt: skip
    meta = st.fixed_dictionaries({"name": st.just("fuzz")}, optional=given)
    parts = {name: of_shape(inner) for name, inner in shape.fields.items()
             if name not in {"apiVersion", "kind", "metadata"}}  # fmt: skip
    return st.fixed_dictionaries({"metadata": meta}, optional=parts)


QUIET = settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)


def fair(answer: Any, sent: Any) -> None:
    assert answer.code < 500 or "failed to create typed patch object" in answer.text, (answer.text, sent)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.plural}.{kind.group}")
def test_no_body_is_our_fault(ask: Raw, kind: Kind) -> None:
    path = kind.path("default")
    ask("POST", f"{CORE}/serviceaccounts", {"metadata": {"name": "default"}})

    @QUIET
    @given(st.data())
    def run(data: st.DataObject) -> None:
        sent = data.draw(body(kind))
        fair(ask("POST", f"{path}?dryRun=All", sent), sent)

    run()


BASES: list[tuple[str, Kind, Any]] = [
    (PATHS["Service"], k.SERVICE, SERVICE), (PATHS["Deployment"], k.DEPLOYMENT, DEPLOYMENT),
    (k.CRD.path(), k.CRD, CRD),
]  # fmt: skip


@pytest.mark.parametrize("base", BASES, ids=lambda base: base[1].plural)
def test_no_change_is_our_fault(ask: Raw, base: Any) -> None:
    path, kind, obj = base
    name = obj["metadata"]["name"]
    ask("POST", path, obj)
    before = ask("GET", f"{path}/{name}").obj
    assert before["kind"] == kind.kind

    @QUIET
    @given(st.data())
    def run(data: st.DataObject) -> None:
        part = data.draw(body(kind))
        part["metadata"]["name"] = name
        whole = copy.deepcopy(before)
        whole |= {key: value for key, value in part.items() if key != "metadata"}
        fair(ask("PUT", f"{path}/{name}?dryRun=All", whole), whole)
        for language in (MERGE, STRATEGIC):
            fair(ask("PATCH", f"{path}/{name}?dryRun=All", part, language), part)
        applied = {**part, "apiVersion": kind.api_version, "kind": kind.kind}
        fair(ask("PATCH", f"{path}/{name}?dryRun=All&fieldManager=f&force=1", applied, APPLY), applied)
        pointer = "/" + "/".join(
            data.draw(st.lists(st.sampled_from(["spec", "metadata", "0", "-", "ports", "versions"])))
        )
        operation = data.draw(st.sampled_from(["add", "remove", "replace", "test", "move", "copy", "fly"]))
        step = {"op": operation, "path": pointer, "from": "/spec", "value": data.draw(ANY)}
        fair(ask("PATCH", f"{path}/{name}?dryRun=All", [step], JSON_PATCH), step)
        fair(ask("PUT", f"{path}/{name}/status?dryRun=All", whole), whole)

    run()
    assert ask("GET", f"{path}/{name}").obj == before


PIECES = st.sampled_from([
    "api", "apis", "v1", "apps", "namespaces", "default", "pods", "deployments", "web", "status", "scale",
    "exec", "log", "watch", "..", "%2e%2e", "%2F", "a%00b", "openapi", "v3", "x" * 2000, "token",
    "binding", "finalize", "proxy", "",
])  # fmt: skip
QUERIES = st.sampled_from([
    "", "limit=-1", "limit=99999999999999999999", "continue=e30", "continue=%00", "labelSelector=a in (",
    "labelSelector=,", "fieldSelector==", "fieldSelector=metadata.name%3D%5C", "resourceVersion=-1",
    "resourceVersion=99999999999999999999", "fieldValidation=x", "dryRun=All&dryRun=x", "gracePeriodSeconds=x",
    "propagationPolicy=x", "container=a", "tailLines=-1",
    "sendInitialEvents=x", "timeoutSeconds=-1", "force=", "fieldManager=%0a",
])  # fmt: skip


@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data())
def test_no_path_is_our_fault(ask: Raw, data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"]))
    start = data.draw(st.sampled_from(["", "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"]))
    pieces, query = data.draw(st.lists(PIECES, max_size=4)), data.draw(QUERIES)
    raw = data.draw(st.sampled_from([None, b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe"]))
    language = data.draw(st.sampled_from(["application/json", "application/yaml", MERGE, APPLY, PROTOBUF, "x"]))
    path = start + "/" + "/".join(pieces) + ("?" + query.replace(" ", "%20") if query else "")
    if "watch" in path and method in {"GET", "HEAD"}:
        return
    answer = ask(method, path, raw, language)
    assert answer.code < 500, (answer.code, answer.text)


def test_the_server_still_stands(ask: Raw) -> None:
    assert ask("GET", "/readyz").text == "ok"
    assert [kind for kind in KINDS if kind.verbs != CREATE_ONLY and ask("GET", kind.path()).code != 200] == []
