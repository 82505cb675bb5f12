"""CustomResourceDefinitions, and the objects of their kinds."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.api.kinds import CRD
from clew.api.objects import clone
from clew.cluster.admission.structural import default_by_schema, prune_by_schema, schema_errors, structural_errors

Refused = Callable[..., list[str]]


def definition(schema: dict | None = None, **spec: object) -> dict:
    version = {
        "name": "v1", "served": True, "storage": True,
        "schema": {"openAPIV3Schema": schema if schema is not None else {"type": "object"}},
    }  # fmt: skip
    whole = {
        "group": "example.org", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [version],
    }  # fmt: skip
    return {"metadata": {"name": "widgets.example.org"}, "spec": {**whole, **spec}}


AT = "spec.versions[0].schema.openAPIV3Schema"


@pytest.mark.parametrize(
    ("crd", "texts"),
    [
        (definition(), []),
        (
            {**definition(), "metadata": {"name": "widget"}},
            ['metadata.name: Invalid value: "widget": must be spec.names.plural+"."+spec.group'],
        ),
        (
            definition(scope="World"),
            ['spec.scope: Unsupported value: "World": supported values: "Cluster", "Namespaced"'],
        ),
        (definition(versions=[]), ["spec.versions: Required value: must have at least one version"]),
        (
            definition(versions=[{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}]),
            ['spec.versions: Invalid value: ["v1"]: must have exactly one version marked as storage version'],
        ),
        (definition({}), [f"{AT}: Required value: schemas are required"]),
        (
            definition({"type": "array", "items": {"type": "string"}}),
            [f'{AT}.type: Invalid value: "array": must be object at the root'],
        ),
        (
            definition({"type": "object", "properties": {"spec": {}}}),
            [f"{AT}.properties[spec].type: Required value: must not be empty for specified object fields"],
        ),
        (
            definition({"type": "object", "properties": {"a": {"type": "array"}}}),
            [f"{AT}.properties[a].items: Required value: must be specified"],
        ),
        (
            definition({"type": "object", "properties": {"a": {"type": "text"}}}),
            [(f'{AT}.properties[a].type: Unsupported value: "text": supported values: "array", "boolean", "integer",'
             ' "number", "object", "string"')],
        ),
        (
            definition({"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]}),
            [f"{AT}.properties[a]: Required value: because it is defined in {AT}.anyOf[0].properties[a]"],
        ),
        (
            definition({"type": "object", "properties": {"a": {"type": "string"}},
                        "oneOf": [{"properties": {"a": {"type": "string"}}}]}),
            [f"{AT}.oneOf[0].properties[a].type: Forbidden: must be empty to be structural"],
        ),
        (
            definition({"type": "object", "properties": {"a": {
                "type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"},
            }}}),
            [(f"{AT}.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual"
             " exclusive")],
        ),
        (
            definition({"type": "object", "properties": {"a": {
                "type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            }}}),
            [(f"{AT}.properties[a].items.properties[n].default: Required value: this property is in"
             " x-kubernetes-list-map-keys, so it must have a default or be a required property")],
        ),
        (
            definition({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
            [f'{AT}.properties[a].default: Invalid value: "x": <nil> in body must be of type integer: "string"'],
        ),
        (
            definition({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            [(f'{AT}.properties[a].pattern: Invalid value: "(": must be a valid regular expression, but isn\'t:'
             f' missing ),'
             " unterminated subpattern at position 0")],
        ),
        (definition({"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": True}}}), []),
        (definition({"type": "object", "x-kubernetes-preserve-unknown-fields": True}), []),
        (
            definition({"type": "object", "properties": {"a": {"$ref": "#/x", "type": "object"}}}),
            [f"{AT}.properties[a].$ref: Forbidden: $ref is not supported"],
        ),
        (
            definition(names={"plural": "Widgets", "kind": "Widget", "listKind": "Widget"}),
            ['metadata.name: Invalid value: "widgets.example.org": must be spec.names.plural+"."+spec.group',
             ('spec.names.plural: Invalid value: "Widgets": a DNS-1035 label must consist of lower case alphanumeric'
             " characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g."
             " 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"),
             'spec.names.listKind: Invalid value: "Widget": kind and listKind may not be the same'],
        ),
    ],
)  # fmt: skip
def test_definitions(refused: Refused, crd: dict, texts: list) -> None:
    assert refused(CRD, crd) == texts


def test_scope_and_group_last(refused: Refused) -> None:
    assert refused(CRD, definition(scope="Cluster"), definition()) == [
        'spec.scope: Invalid value: "Cluster": field is immutable'
    ]


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 10},
                "ratio": {"type": "number", "exclusiveMinimum": True, "minimum": 0, "multipleOf": 0.5},
                "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4},
                "address": {"type": "string", "format": "ipv4"},
                "port": {"x-kubernetes-int-or-string": True},
                "maybe": {"type": "string", "nullable": True},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
                "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "rules": {
                    "type": "array", "minItems": 1, "maxItems": 2, "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object", "required": ["name"],
                        "properties": {"name": {"type": "string"}, "weight": {"type": "integer", "default": 1}},
                    },
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "inner": {
                    "type": "object", "x-kubernetes-embedded-resource": True,
                    "x-kubernetes-preserve-unknown-fields": True,
                },
                "either": {
                    "type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                    "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                },
            },
        },
    },
}  # fmt: skip


def widget(**spec: object) -> dict:
    return {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1, **spec}}


def test_the_schema_of_these_tests_is_structural() -> None:
    assert list(structural_errors(SCHEMA, "")) == []


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        ({"color": "blue", "name": "abc", "address": "10.0.0.1", "port": "http", "maybe": None, "ratio": 1}, []),
        ({"size": "x"}, ['spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"']),
        ({"size": 0}, ["spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"]),
        ({"size": 11}, ["spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"]),
        ({"size": 2.0}, []),
        ({"ratio": 0}, ["spec.ratio: Invalid value: 0: spec.ratio in body should be greater than 0"]),
        ({"ratio": 0.7}, ["spec.ratio: Invalid value: 0.7: spec.ratio in body should be a multiple of 0.5"]),
        ({"color": "green"}, ['spec.color: Unsupported value: "green": supported values: "red", "blue"']),
        (
            {"name": "A"},
            ['spec.name: Invalid value: "A": spec.name in body should match \'^[a-z]+$\'',
             'spec.name: Invalid value: "A": spec.name in body should be at least 2 chars long'],
        ),
        ({"name": "abcde"}, ["spec.name: Too long: may not be more than 4 bytes"]),
        ({"address": "::1"}, ['spec.address: Invalid value: "::1": spec.address in body must be of type ipv4: "::1"']),
        (
            {"port": 1.5},
            ['spec.port: Invalid value: "number": spec.port in body must be of type integer,string: "number"'],
        ),
        ({"name": None}, ['spec.name: Invalid value: "null": spec.name in body must be of type string: "null"']),
        (
            {"labels": {"a": 1}},
            ['spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer"'],
        ),
        ({"labels": {"a": "", "b": "", "c": ""}}, ["spec.labels: Too many: 3: must have at most 2 items"]),
        ({"tags": ["a", "b", "a"]}, ['spec.tags[2]: Duplicate value: "a"']),
        ({"rules": []}, ["spec.rules: Invalid value: 0: spec.rules in body should have at least 1 items"]),
        ({"rules": [{"name": "a"}, {"name": "a"}]}, ['spec.rules[1]: Duplicate value: {"name":"a"}']),
        ({"rules": [{}]}, ["spec.rules[0].name: Required value"]),
        ({"inner": {"kind": "Pod"}}, ["spec.inner.apiVersion: Required value: must not be empty"]),
        (
            {"either": {"a": "1", "b": "2"}},
            [('spec.either: Invalid value: {"a":"1","b":"2"}: "spec.either" must validate one and only one'
             ' schema (oneOf).'
             " Found 2 valid alternatives")],
        ),
    ],
)  # fmt: skip
def test_objects_of_a_custom_kind(spec: dict, texts: list) -> None:
    assert [str(error) for error in schema_errors(SCHEMA, widget(**spec))] == texts


def test_a_whole_part_is_missing() -> None:
    assert [str(error) for error in schema_errors(SCHEMA, {"metadata": {"name": "w"}})] == ["spec: Required value"]


def test_the_unknown_is_dropped_and_named() -> None:
    obj = widget(x=1, free={"y": {"z": 1}}, rules=[{"name": "a", "q": 1}], inner={"kind": "Pod", "spec": {"a": 1}})
    obj["status"] = {}
    assert prune_by_schema(SCHEMA, obj) == ["spec.x", "spec.rules[0].q", "status"]
    assert obj == widget(free={"y": {"z": 1}}, rules=[{"name": "a"}], inner={"kind": "Pod", "spec": {"a": 1}})


def test_defaults_are_filled_below_what_is_there() -> None:
    obj = widget(rules=[{"name": "a"}], color=None, maybe=None)
    default_by_schema(SCHEMA, obj)
    assert obj == widget(rules=[{"name": "a", "weight": 1}], color="red", maybe=None)


FORMATS = [
    ("ipv4", "10.0.0.1", "10.0.0.256"), ("ipv6", "::1", "10.0.0.1"), ("cidr", "10.0.0.0/8", "10.0.0.0"),
    ("mac", "02:00:00:00:00:01", "02:00"), ("uuid", "4a1c8f5e-7d4b-4d4a-9b8e-0d5f0c1f2a3b", "x"),
    ("byte", "YQ==", "Y"), ("date", "2026-01-02", "2026-13-02"), ("date-time", "2026-01-02T03:04:05Z", "2026-01-02"),
    ("duration", "1h5m", "soon"), ("hostname", "a.example.org", "-a"), ("uri", "https://example.org", "example"),
    ("email", "a@example.org", "a"), ("no-such-format", "anything", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "good", "bad"), FORMATS, ids=[each[0] for each in FORMATS])
def test_formats(name: str, good: str, bad: str | None) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "format": name}}}
    assert list(schema_errors(schema, {"a": good})) == []
    if bad is not None:
        (error,) = schema_errors(schema, {"a": bad})
        assert error.detail == f'a in body must be of type {name}: "{bad}"'


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 12) | st.sampled_from(["red", "a", "10.0.0.1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["size", "color", "name", "rules", "free", "q"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(SCHEMA["properties"]["spec"]["properties"])), VALUES, max_size=4))
def test_whatever_is_posted_is_judged_and_what_is_kept_is_stable(spec: dict) -> None:
    obj = widget(**spec)
    prune_by_schema(SCHEMA, obj)
    default_by_schema(SCHEMA, obj)
    once = clone(obj)
    prune_by_schema(SCHEMA, obj)
    default_by_schema(SCHEMA, obj)
    assert obj == once
    list(schema_errors(SCHEMA, obj))
