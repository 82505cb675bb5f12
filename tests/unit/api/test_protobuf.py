"""Bodies that kubectl sent, and round trips through an encoder that knows only the table of fields."""

import base64
import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.api.protobuf import decode
from clew.api.protobuf.messages import Field, _fields, _tables
from clew.api.protobuf.wire import fields

RECORDED = json.loads((Path(__file__).parent / "data" / "kubectl-bodies.json").read_text())


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


# the objects beside the bodies are what the same command prints with --dry-run=client -o json
@pytest.mark.parametrize("case", RECORDED, ids=lambda case: f"{case['kubectl']} {case['command']}")
def test_what_kubectl_posts_is_what_kubectl_prints(case: dict) -> None:
    assert decode(base64.b64decode(case["body"])) == without_nulls(case["object"])


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def tagged(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def encode_value(field: Field, value: Any) -> int | bytes:
    match field.form:
        case "struct":
            return encode(field.type, value)
        case "string":
            return value.encode()
        case "bytes":
            return base64.b64decode(value)
        case "quantity":
            return tagged(1, value.encode())
        case "int-or-string":
            return (
                tagged(1, 1) + tagged(3, value.encode()) if isinstance(value, str) else tagged(1, 0) + tagged(2, value)
            )
        case "json":
            return tagged(1, json.dumps(value).encode())
        case "time":
            return tagged(1, 1_700_000_000)
        case "micro-time":
            return tagged(1, 1_700_000_000) + tagged(2, 5000)
        case "strings":
            return b"".join(tagged(1, each.encode()) for each in value)
    return int(value)


def encode(message: str, obj: dict) -> bytes:
    made = b""
    for number, field in _fields(message).items():
        if field.is_inline:
            made += tagged(number, encode(field.type, obj))
        elif field.name in obj and field.is_map:
            for key, value in obj[field.name].items():
                made += tagged(number, tagged(1, key.encode()) + tagged(2, encode_value(field, value)))
        elif field.name in obj:
            for value in obj[field.name] if field.is_list else [obj[field.name]]:
                made += tagged(number, encode_value(field, value))
    return made


SCALARS: dict[str, st.SearchStrategy] = {
    "string": st.text("aé/:", min_size=1, max_size=4),
    "int": st.integers(-(2**31), 2**31 - 1).filter(bool),
    "bool": st.just(value=True),
    "bytes": st.binary(min_size=1, max_size=4).map(lambda value: base64.b64encode(value).decode()),
    "quantity": st.sampled_from(["1", "100m", "1Gi"]),
    "int-or-string": st.integers(0, 99) | st.text("a%", min_size=1, max_size=3),
    "json": st.dictionaries(st.text("ab", max_size=2), st.integers(0, 3), max_size=2),
    "time": st.just("2023-11-14T22:13:20Z"),
    "micro-time": st.just("2023-11-14T22:13:20.000005Z"),
    "strings": st.lists(st.text("ab", max_size=2), max_size=2),
}
MESSAGES = [
    "core.v1.Pod",
    "core.v1.Service",
    "apps.v1.Deployment",
    "core.v1.Secret",
    "rbac.v1.ClusterRole",
    "meta.v1.DeleteOptions",
]


def value_of(field: Field, depth: int) -> st.SearchStrategy:
    one = messages(field.type, depth - 1) if field.form == "struct" else SCALARS[field.form]
    if field.is_map:
        return st.dictionaries(st.text("abc", max_size=2), one, min_size=1, max_size=2)
    return st.lists(one, min_size=1, max_size=2) if field.is_list else one


@st.composite
def messages(draw: st.DrawFn, message: str, depth: int) -> dict:
    made: dict[str, Any] = {}
    names = _fields(message)
    usable = [field for field in names.values() if field.form != "double" and (field.form != "struct" or depth > 0)]
    if not usable:
        return made
    for field in draw(st.lists(st.sampled_from(usable), unique_by=lambda field: field.name, max_size=4)):
        if field.is_inline:
            made |= draw(messages(field.type, depth))
        else:
            made[field.name] = draw(value_of(field, depth))
    return made


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, dict]:
    message = draw(st.sampled_from(MESSAGES))
    return message, draw(messages(message, 4))


def envelope(message: str, raw: bytes) -> tuple[bytes, dict]:
    package, version, kind = message.split(".")
    group = {"core": "", "rbac": "rbac.authorization.k8s.io/", "meta": "meta.k8s.io/"}.get(package, f"{package}/")
    identity = {"apiVersion": f"{group}{version}", "kind": kind}
    head = tagged(1, identity["apiVersion"].encode()) + tagged(2, kind.encode())
    return b"k8s\0" + tagged(1, head) + tagged(2, raw), identity


@given(objects())
def test_every_object_survives_the_wire(pair: tuple[str, dict]) -> None:
    message, obj = pair
    body, identity = envelope(message, encode(message, obj))
    assert decode(body) == {**identity, **obj}


@given(objects(), st.data())
def test_a_body_that_is_cut_off_or_altered_is_refused_or_read_but_never_crashes(
    pair: tuple, data: st.DataObject
) -> None:
    body, _ = envelope(pair[0], encode(*pair))
    place = data.draw(st.integers(4, len(body) - 1))
    for broken in (body[:place], body[:place] + bytes([data.draw(st.integers(0, 255))]) + body[place + 1 :]):
        with contextlib.suppress(ValueError):
            decode(broken)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "does not appear to be a protobuf message"),
        (b"k8s\0\x0a\xff", "unexpected EOF"),
        (b"k8s\0\x0b", "illegal wireType 3"),
        (b"k8s\0" + tagged(1, tagged(1, b"v9") + tagged(2, b"Poem")), 'no kind "Poem" is registered for version "v9"'),
        (b"k8s\0" + b"\x08" + b"\xff" * 11, "integer overflow"),
    ],
)
def test_what_is_no_object_is_refused(body: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        decode(body)


def test_fixed_width_fields_are_passed_over() -> None:
    assert list(fields(b"\x09" + struct.pack("<d", 1.5) + b"\x15abcd")) == [(1, struct.pack("<d", 1.5)), (2, b"abcd")]


def test_every_message_that_a_field_names_is_in_the_table() -> None:
    named = {field.type for message in _tables() for field in _fields(message).values() if field.type}
    assert named <= _tables().keys()
