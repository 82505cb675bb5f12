"""What a body may look like: languages, kinds, types, keys that are unknown or given twice, and patches alike."""

import json

import pytest

from .conftest import Raw

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
DEPLOYMENT = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
    "spec": {
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    },
}  # fmt: skip
MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
JSON, YAML = "application/json", "application/yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
UNRECOGNIZED = "the object provided is unrecognized (must be of type ConfigMap): "
NO_VERSION = UNRECOGNIZED + "couldn't get version/kind; json parse error: "
DUPLICATE = b'{"metadata":{"name":"c"},"data":{"a":"b"},"data":{"a":"c"},"kind":"ConfigMap","apiVersion":"v1"}'


@pytest.mark.parametrize(
    ("language", "body", "message"),
    [
        (JSON, b'{"kind": ', NO_VERSION + 'unexpected end of JSON input ({"kind": )'),
        (
            JSON, b"{'kind': 1}",
            NO_VERSION + "invalid character '\\'' looking for beginning of object key string ({'kind': 1})",
        ),
        (
            JSON, b'{"a": 1 "b": 2}',
            NO_VERSION + "invalid character '\"' after object key:value pair ({\"a\": 1 \"b\": 2})",
        ),
        (JSON, b'{"a": [1 2]}', NO_VERSION + "invalid character '2' after array element ({\"a\": [1 2]})"),
        (JSON, b"", NO_VERSION + "unexpected end of JSON input (<empty>)"),
        (
            JSON, b"[1]",
            NO_VERSION + "json: cannot unmarshal array into Go value of type struct { APIVersion string; Kind string }"
            " (5b315d)",
        ),
        (
            JSON, b'{"kind": "Pod", "apiVersion": "v1"}',
            ('Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown'
            " conversion"),
        ),
        (
            JSON, b'{"kind": "Nonsense", "apiVersion": "v9"}',
            ('Nonsense in version "v9" cannot be handled as a ConfigMap: no kind "Nonsense" is registered for version'
            ' "v9" in scheme "pkg/api/legacyscheme/scheme.go:30"'),
        ),
        (
            JSON, b'{"kind": "ConfigMap", "apiVersion": "v1", "data": "x"}',
            ('ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal string into Go struct'
            " field ConfigMap.data of type map[string]string"),
        ),
        (
            YAML, b"kind: ConfigMap\napiVersion: v1\ndata: {a: 1}\n",
            ('ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct'
            " field ConfigMap.data of type string"),
        ),
    ],
)  # fmt: skip
def test_a_body_that_is_none_is_refused_in_gos_words(ask: Raw, language: str, body: bytes, message: str) -> None:
    answer = ask("POST", MAPS, body, language)
    assert (answer.code, answer.obj["reason"], answer.obj["message"]) == (400, "BadRequest", message)


def test_a_language_that_nobody_speaks_is_415(ask: Raw) -> None:
    answer = ask("POST", MAPS, b"<a/>", "text/xml")
    assert (answer.code, answer.obj["reason"]) == (415, "UnsupportedMediaType")
    assert answer.obj["message"].endswith(
        "accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )


def test_yaml_is_what_json_could_say(call: Raw) -> None:
    """A date used to become Python's, which no JSON has, and the request a 500."""
    body = b"kind: ConfigMap\napiVersion: v1\nmetadata: {name: c, annotations: {when: '2024-01-01'}}\ndata: {on: 'yes'}"
    made = call("POST", MAPS, body, YAML).obj
    assert made["metadata"]["annotations"] == {"when": "2024-01-01"}
    assert made["data"] == {"true": "yes"}  # YAML 1.1's word for true, as sigs.k8s.io/yaml has it
    bare = call("POST", MAPS, b"kind: ConfigMap\napiVersion: v1\nmetadata: {name: d}\ndata: {when: 2024-01-01}", YAML)
    assert bare.obj["data"] == {"when": "2024-01-01"}


UNKNOWN = {**CONFIG, "datta": {}, "metadata": {"name": "c", "lables": {}}}
STRICT = 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '


@pytest.mark.parametrize(
    ("how", "code", "warnings", "message"),
    [
        ("", 201, ['unknown field "datta"', 'unknown field "metadata.lables"'], ""),
        ("Warn", 201, ['unknown field "datta"', 'unknown field "metadata.lables"'], ""),
        ("Ignore", 201, [], ""),
        ("Strict", 400, [], STRICT + 'unknown field "metadata.lables", unknown field "datta"'),
        (
            "Perhaps", 422, [],
            ('CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Perhaps": supported values:'
            ' "Ignore", "Strict", "Warn"'),
        ),
    ],
)  # fmt: skip
def test_unknown_fields(ask: Raw, how: str, code: int, warnings: list[str], message: str) -> None:
    answer = ask("POST", f"{MAPS}?dryRun=All&fieldValidation={how}", UNKNOWN)
    assert (answer.code, sorted(answer.warnings)) == (code, warnings)
    if message:
        assert answer.obj["message"] == message
    else:
        assert "datta" not in answer.text


def test_keys_given_twice(ask: Raw) -> None:
    warned = ask("POST", f"{MAPS}?dryRun=All", DUPLICATE)
    assert (warned.code, warned.warnings, warned.obj["data"]) == (201, ['duplicate field "data"'], {"a": "c"})
    refused = ask("POST", f"{MAPS}?dryRun=All&fieldValidation=Strict", DUPLICATE)
    assert (refused.code, refused.obj["message"]) == (400, STRICT + 'duplicate field "data"')
    assert ask("POST", f"{MAPS}?dryRun=All&fieldValidation=Ignore", DUPLICATE).warnings == []


def test_warnings_are_headers_whatever_they_say(ask: Raw) -> None:
    """A NUL in a field's name ended the connection without an answer."""
    odd = ask("POST", f"{MAPS}?dryRun=All", {**CONFIG, "a\x00b\r\nc": 1, 'd"e': 1})
    assert (odd.code, odd.warnings) == (201, ['unknown field "a b  c"', 'unknown field "d"e"'])
    many = ask("POST", f"{MAPS}?dryRun=All", {**CONFIG, **{f"field{number:04}": 1 for number in range(2000)}})
    assert many.code == 201
    assert len(many.warnings) == 50
    long = ask("POST", f"{MAPS}?dryRun=All", {**CONFIG, "x" * 50_000: 1})
    assert [len(warning) for warning in long.warnings] == [256]


REPEATED = b'{"spec":{"replicas":2,"replicas":3}}'


@pytest.mark.parametrize("language", [MERGE, STRATEGIC])
def test_a_patch_is_held_to_the_same(call: Raw, language: str) -> None:
    """Patches used to pass unknown and repeated fields in silence, whatever was asked."""
    call("POST", DEPLOYMENTS, DEPLOYMENT)
    path = f"{DEPLOYMENTS}/web"
    warned = call("PATCH", path, {"spec": {"replicaz": 3}}, language)
    assert (warned.code, warned.warnings) == (200, ['unknown field "spec.replicaz"'])
    assert call("PATCH", f"{path}?fieldValidation=Ignore", {"spec": {"replicaz": 3}}, language).warnings == []
    strict = call("PATCH", f"{path}?fieldValidation=Strict", {"spec": {"replicaz": 3}}, language)
    assert (strict.code, strict.obj["reason"]) == (422, "Invalid")
    assert strict.obj["message"].endswith('strict decoding error: unknown field "spec.replicaz"')
    assert strict.causes[0][:2] == ("patch", "FieldValueInvalid")
    assert call("PATCH", path, REPEATED, language).warnings == ['duplicate field "spec.replicas"']
    twice = call("PATCH", f"{path}?fieldValidation=Strict", REPEATED, language)
    assert 'duplicate field "spec.replicas"' in twice.obj["message"]
    assert call("GET", path).obj["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("language", "patch", "code", "message"),
    [
        (MERGE, {"spec": {"replicas": "x"}}, 422, "cannot unmarshal string into Go struct field"),
        (STRATEGIC, {"spec": {"replicas": "x"}}, 422,
         ' "" is invalid: patch: Invalid value: "map[spec:map[replicas:x]]": unrecognized type: int32'),
        (MERGE, b"{", 400, "error decoding patch: unexpected end of JSON input"),
        (MERGE, [], 400, "error decoding patch"),
        (JSON_PATCH, {}, 400, "error decoding patch"),
        (JSON_PATCH, [{"op": "test", "path": "/spec/replicas", "value": 9}], 422,
         "the server rejected our request due to an error in our request"),
        (JSON_PATCH, [{"op": "replace", "path": "/spec/paused/x", "value": 9}], 422, "server rejected our request"),
        (MERGE, {"metadata": {"name": "other"}}, 400,
         "the name of the object (other) does not match the name on the URL (web)"),
        (MERGE, {"metadata": {"namespace": "other"}}, 400,
         "the namespace of the object (other) does not match the namespace on the request (default)"),
        (MERGE, {"spec": {"replicas": -1}}, 422,
         'Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0'),
        (STRATEGIC, {"spec": {"selector": {"matchLabels": {"a": "c"}}}}, 422, "field is immutable"),
        (MERGE, {"metadata": {"resourceVersion": "1"}}, 409, "the object has been modified"),
        (MERGE, {"metadata": {"uid": "x"}}, 409, "Precondition failed: UID in precondition: x, UID in object meta: "),
        ("application/patch", {}, 415,
         ("accepted media types include: application/json-patch+json, application/merge-patch+json,"
         " application/strategic-merge-patch+json, application/apply-patch+yaml")),
    ],
)  # fmt: skip
def test_a_patched_object_is_checked_like_an_updated_one(
    ask: Raw, language: str, patch: object, code: int, message: str
) -> None:
    if ask("GET", f"{DEPLOYMENTS}/web").code == 404:
        ask("POST", DEPLOYMENTS, DEPLOYMENT)
    before = ask("GET", f"{DEPLOYMENTS}/web").obj
    answer = ask("PATCH", f"{DEPLOYMENTS}/web", patch, language)
    assert answer.code == code, answer.text
    assert message in answer.obj["message"]
    assert ask("GET", f"{DEPLOYMENTS}/web").obj == before


def test_an_applied_object_is_checked_likewise(ask: Raw) -> None:
    path = f"{MAPS}/applied?fieldManager=me&dryRun=All"
    base = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}}
    unknown = ask("PATCH", path, {**base, "datta": {}}, APPLY)
    assert unknown.code == 500
    assert ".datta: field not declared in schema" in unknown.obj["message"]
    other = ask("PATCH", path, {**base, "metadata": {"name": "x"}}, APPLY)
    assert "does not match the name on the URL" in other.obj["message"]
    nobody = ask("PATCH", f"{MAPS}/applied", base, APPLY)
    assert (nobody.code, nobody.causes) == (
        422, [("fieldManager", "FieldValueRequired", "Required value: is required for apply patch")],
    )  # fmt: skip
    forced = ask("PATCH", f"{MAPS}/applied?force=true", {}, MERGE)
    assert "force: Forbidden: may not be specified for non-apply patch" in forced.obj["message"]
    twice = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: b}\ndata: {c: d}\n"
    assert ask("PATCH", path, twice, APPLY).warnings == ['line 5: key "data" already set in map']
    assert ask("PATCH", f"{path}&fieldValidation=Strict", twice, APPLY).code == 400


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (f"{MAPS}/c", {**CONFIG, "metadata": {}},
         "the name of the object (c based on URL) was undeterminable: name must be provided"),
        (f"{MAPS}/c", {**CONFIG, "metadata": {"name": "d"}},
         "the name of the object (d) does not match the name on the URL (c)"),
        (f"{MAPS}/c", {**CONFIG, "metadata": {"name": "c", "namespace": "x"}},
         "the namespace of the object (x) does not match the namespace on the request (default)"),
    ],
)  # fmt: skip
def test_a_put_names_what_it_puts(ask: Raw, path: str, body: object, message: str) -> None:
    answer = ask("PUT", path, body)
    assert (answer.code, answer.obj["message"]) == (400, message)


def test_a_dry_run_has_one_name(ask: Raw) -> None:
    answer = ask("POST", f"{MAPS}?dryRun=yes", CONFIG)
    assert (answer.code, answer.causes) == (
        422, [("dryRun", "FieldValueNotSupported", 'Unsupported value: "yes": supported values: "All"')],
    )  # fmt: skip


def test_scales_are_checked_like_everything_else(call: Raw) -> None:
    """A Scale used to be taken as it came: unknown fields in silence, errors under the parent's name."""
    call("POST", DEPLOYMENTS, DEPLOYMENT)
    path = f"{DEPLOYMENTS}/web/scale"
    assert call("PATCH", path, {"spec": {"replicaz": 3}}, MERGE).warnings == ['unknown field "spec.replicaz"']
    wrong = call("PATCH", path, {"spec": {"replicas": -1}}, MERGE)
    assert wrong.obj["message"] == (
        'Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0'
    )
    scale = call("GET", path).obj
    assert scale["status"]["selector"] == "a=b"
    scale["spec"]["replicas"] = "x"
    assert "cannot unmarshal string" in call("PUT", path, scale).obj["message"]
    scale["spec"]["replicas"] = 4
    assert call("PUT", path, scale).obj["spec"] == {"replicas": 4}
    assert call("PUT", path, scale).code == 409  # of an old version by now
    deployment = call("GET", f"{DEPLOYMENTS}/web").obj
    assert (deployment["spec"]["replicas"], deployment["metadata"]["generation"]) == (4, 2)
    assert "scale" in {entry.get("subresource") for entry in deployment["metadata"]["managedFields"]}


def test_the_largest_body(ask: Raw) -> None:
    answer = ask("POST", MAPS, {**CONFIG, "data": {"a": "x" * (3 << 20)}})
    assert (answer.code, answer.obj["reason"]) == (413, "RequestEntityTooLarge")
    deep = json.dumps(CONFIG).encode()[:-1] + b',"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    assert ask("POST", MAPS, deep).code == 400
