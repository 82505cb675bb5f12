import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.api.kinds import CONFIG_MAP, DEPLOYMENT, POD, SERVICE, SERVICE_ACCOUNT, Kind
from clew.api.patch import PatchError, json_patch, merge_patch, strategic_merge_patch

KEYS = st.sampled_from(["a", "b", "c/d", "e~f", ""])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text("xyz", max_size=2)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


# RFC 7386, appendix A, as far as the documents are objects
@pytest.mark.parametrize(
    ("current", "patch", "after"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_of_the_rfc(current: dict, patch: dict, after: dict) -> None:
    assert merge_patch(current, patch) == after


@given(OBJECTS, OBJECTS)
def test_merge_patch_changes_neither_argument_and_is_idempotent(current: dict, patch: dict) -> None:
    texts = json.dumps([current, patch])
    once = merge_patch(current, patch)
    assert json.dumps([current, patch]) == texts
    assert merge_patch(once, patch) == once


@given(OBJECTS)
def test_an_empty_patch_changes_nothing(current: dict) -> None:
    assert merge_patch(current, {}) == current
    assert json_patch(current, []) == current


# RFC 6902, appendix A
@pytest.mark.parametrize(
    ("current", "operations", "after"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
        ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
        ),
        ({"foo": [1, 2, 3]}, [{"op": "move", "from": "/foo/1", "path": "/foo/2"}], {"foo": [1, 3, 2]}),
        ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc"]}], {"foo": ["bar", ["abc"]]}),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)
def test_json_patch_of_the_rfc(current: dict, operations: list, after: dict) -> None:
    assert json_patch(current, operations) == after


@pytest.mark.parametrize(
    ("current", "operations", "status", "cause"),
    [
        ({"a": 1}, [{"op": "test", "path": "/a", "value": True}], 422, "testing value /a failed: test failed"),
        ({"a": 1}, [{"op": "test", "path": "/b", "value": 1}], 422, "testing value /b failed: test failed"),
        ({}, [{"op": "replace", "path": "/spec/x", "value": 1}], 422, 'doc is missing path: "/spec/x": missing value'),
        ({}, [{"op": "replace", "path": "/x", "value": 1}], 422, "doc is missing key: /x: missing value"),
        ({}, [{"op": "remove", "path": "/x"}], 422, "unable to remove nonexistent key: x"),
        ({"a": []}, [{"op": "add", "path": "/a/1", "value": 1}], 422, "invalid index: 1"),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/01"}], 422, "invalid index: 01"),
        ({"a": {}}, [{"op": "move", "from": "/a", "path": "/a/b"}], 422, "lies inside"),
        ({}, [{"op": "poke", "path": "/x"}], 422, "Unexpected kind: poke"),
        ({}, {"op": "add"}, 400, "list of operations"),
        ({}, ["add"], 400, "an op and a path"),
    ],
)
def test_json_patch_says_what_does_not_apply(current: dict, operations: object, status: int, cause: str) -> None:
    with pytest.raises(PatchError, match=r".") as caught:
        json_patch(current, operations)
    assert caught.value.status == status
    assert cause in str(caught.value)


@given(OBJECTS, KEYS, VALUES)
def test_json_patch_add_then_test_then_remove_gives_the_object_back(current: dict, key: str, value: object) -> None:
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    added = json_patch(
        current, [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}]
    )
    assert added[key] == value
    assert json_patch(added, [{"op": "remove", "path": path}]) == {k: v for k, v in current.items() if k != key}


def pod(*containers: dict, **spec: object) -> dict:
    return {"spec": {"containers": list(containers), **spec}}


def service(*ports: dict) -> dict:
    return {"spec": {"ports": list(ports)}}


A, B, C = {"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}


@pytest.mark.parametrize(
    ("kind", "current", "patch", "after"),
    [
        pytest.param(
            POD, pod(A, B), pod({"name": "b", "image": "9"}), pod(A, {"name": "b", "image": "9"}), id="by-key"
        ),
        pytest.param(POD, pod(A), pod(B), pod(B, A), id="new-stands-first"),
        pytest.param(POD, pod(A, B), pod({"name": "a", "$patch": "delete"}), pod(B), id="deleted"),
        pytest.param(POD, pod(A, B), pod({"$patch": "replace"}, C), pod(C), id="list-replaced"),
        pytest.param(
            POD, pod(A), {"spec": {"$patch": "replace", "nodeName": "n"}}, {"spec": {"nodeName": "n"}},
            id="map-replaced",
        ),
        pytest.param(POD, pod(A), {"spec": {"$patch": "delete"}}, {"spec": {}}, id="map-deleted"),
        pytest.param(
            POD, pod(A, B),
            {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "c"}], "containers": [C]}},
            pod(B, A, C), id="order",
        ),
        pytest.param(
            POD, pod(A, B, C),
            {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}},
            pod(B, C, A), id="order-alone",
        ),
        pytest.param(
            POD, pod(A, tolerations=[{"key": "x"}]), {"spec": {"tolerations": [{"key": "y"}]}},
            pod(A, tolerations=[{"key": "y"}]), id="atomic-list",
        ),
        pytest.param(
            POD, {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}},
            {"metadata": {"finalizers": ["c", "b"]}}, id="primitive-list",
        ),
        pytest.param(
            POD, pod(A, volumes=[{"name": "v", "emptyDir": {}}]),
            {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}},
            pod(A, volumes=[{"name": "v", "hostPath": {"path": "/x"}}]), id="retain-keys",
        ),
        pytest.param(
            DEPLOYMENT, {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}},
            {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
            {"spec": {"strategy": {"type": "Recreate"}}}, id="retain-keys-of-a-strategy",
        ),
        pytest.param(
            SERVICE, service({"port": 80, "name": "http"}, {"port": 443}), service({"port": 80, "name": "web"}),
            service({"port": 80, "name": "web"}, {"port": 443}), id="service-ports",
        ),
        pytest.param(
            POD, {"metadata": {"labels": {"a": "1", "b": "2"}}}, {"metadata": {"labels": {"a": None, "c": "3"}}},
            {"metadata": {"labels": {"b": "2", "c": "3"}}}, id="labels",
        ),
        pytest.param(
            CONFIG_MAP, {"data": {"a": "1"}}, {"data": {"$patch": "replace", "b": "2"}}, {"data": {"b": "2"}},
            id="data",
        ),
        pytest.param(POD, {}, {"spec": {"x": {"y": None, "z": 1}}}, {"spec": {"x": {"z": 1}}}, id="nulls-add-nothing"),
        pytest.param(
            SERVICE_ACCOUNT, {"secrets": [{"name": "a"}]}, {"secrets": [{"name": "b"}]},
            {"secrets": [{"name": "b"}, {"name": "a"}]}, id="secrets",
        ),
    ],
)  # fmt: skip
def test_strategic_merge(kind: Kind, current: dict, patch: dict, after: dict) -> None:
    before = json.dumps(current)
    assert strategic_merge_patch(kind, current, patch) == after
    assert json.dumps(current) == before


@pytest.mark.parametrize(
    ("patch", "status", "text"),
    [
        (pod({"image": "x"}), 422, "map: map[image:x] does not contain declared merge key: name"),
        ({"spec": {"$patch": "poke"}}, 422, "unknown patch type found in patch: poke"),
        ({"spec": {"$retainKeys": ["a"], "b": 1}}, 400, "invalid patch format of retainKeys"),
        ({"spec": {"$setElementOrder/containers": 1}}, 400, "invalid patch format of setElementOrder list"),
        ([], 400, "a strategic merge patch is an object"),
    ],
)
def test_strategic_merge_refuses(patch: object, status: int, text: str) -> None:
    with pytest.raises(PatchError) as caught:
        strategic_merge_patch(POD, pod(A), patch)
    assert caught.value.status == status
    assert text in str(caught.value)


def test_custom_kinds_have_no_merge_keys() -> None:
    with pytest.raises(PatchError) as caught:
        strategic_merge_patch(Kind("example.org", "v1", "Widget", "widgets", True), {}, {})
    assert caught.value.status == 415
