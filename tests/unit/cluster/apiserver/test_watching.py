"""Lists in pages and watches: from which version, until when, what a selector lets through, and what is too old."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clew.cluster.apiserver import watching

from .conftest import Raw, Running
from .samples import CRD, CRDS, MERGE, WIDGETS

MAPS = "/api/v1/namespaces/default/configmaps"
INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
END = {"k8s.io/initial-events-end": "true"}


def put(call: Raw, name: str, labels: dict | None = None, **data: str) -> Any:
    """Create, or change with a merge patch; the object."""
    body = {"metadata": {"name": name, "labels": labels or {}}, "data": data}
    answer = call("POST", MAPS, body)
    if answer.code == 409:
        answer = call("PATCH", f"{MAPS}/{name}", body, MERGE)
    assert answer.code in {200, 201}, answer.text
    return answer.obj


def version(obj: Any) -> str:
    return str(obj["metadata"]["resourceVersion"])


def names(obj: Any) -> list[str]:
    return [each["metadata"]["name"] for each in obj["items"]]


@pytest.mark.parametrize("since", ["", "resourceVersion=0"])
def test_a_watch_from_nowhere_begins_with_all_there_is(call: Raw, since: str) -> None:
    put(call, "a")
    put(call, "b")
    with call.watch(f"{MAPS}?{since}") as events:
        assert events.named(2) == [("ADDED", "a"), ("ADDED", "b")]
        put(call, "c")
        call("DELETE", f"{MAPS}/a")
        assert events.named(2) == [("ADDED", "c"), ("DELETED", "a")]


def test_a_watch_from_a_version_sees_what_came_after_it(call: Raw) -> None:
    put(call, "a")
    listed = call("GET", MAPS).obj
    put(call, "b")
    put(call, "a", x="1")
    with call.watch(f"{MAPS}?resourceVersion={version(listed)}") as events:
        assert events.named(2) == [("ADDED", "b"), ("MODIFIED", "a")]
        gone = call("DELETE", f"{MAPS}/b")
        assert gone.code == 200
        kind, obj = events.next()
        assert (kind, obj["metadata"]["name"]) == ("DELETED", "b")
        assert int(version(obj)) > int(version(listed)) + 2  # the version of its deletion


def test_initial_events_end_with_a_bookmark_that_says_so(call: Raw) -> None:
    first = put(call, "a")
    with call.watch(f"{MAPS}?{INITIAL}&resourceVersion={version(first)}") as events:
        assert events.named(1) == [("ADDED", "a")]
        kind, mark = events.next()
        assert (kind, mark["kind"], mark["metadata"]["annotations"]) == ("BOOKMARK", "ConfigMap", END)
        assert int(version(mark)) >= int(version(first))
        put(call, "b")
        assert events.named(1) == [("ADDED", "b")]
    quiet = INITIAL.removesuffix("&allowWatchBookmarks=true")
    with call.watch(f"{MAPS}?{quiet}") as events:
        assert events.named(2) == [("ADDED", "a"), ("ADDED", "b")]
        put(call, "c")
        assert events.named(1) == [("ADDED", "c")]  # no bookmark came between


def test_no_initial_events_means_from_now_on(call: Raw) -> None:
    """It used to replay the whole history."""
    put(call, "a")
    with call.watch(f"{MAPS}?sendInitialEvents=false&resourceVersionMatch=NotOlderThan") as events:
        put(call, "b")
        assert events.named(1) == [("ADDED", "b")]


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("watch=1&sendInitialEvents=true", 422,
         ('ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting'
          " resourceVersionMatch to NotOlderThan")),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422,
         "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
        ("watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", 422, 'supported values: "NotOlderThan"'),
        ("watch=1&resourceVersion=x", 400,
         'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'),
        ("watch=1&resourceVersion=999999", 504, "Timeout: Too large resource version: 999999, current: "),
        ("watch=1&labelSelector=a%3D%3D%3Db", 400, "unable to parse requirement: "),
        ("watch=1&fieldSelector=spec.x%3Da", 400, "field label not supported: spec.x"),
        ("sendInitialEvents=true", 422, "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ("resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersionMatch=Exact&resourceVersion=0", 422,
         'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'),
        ("resourceVersionMatch=Perhaps&resourceVersion=1", 422,
         'Unsupported value: "Perhaps": supported values: "Exact", "NotOlderThan", ""'),
        ("resourceVersion=999999", 504, "Timeout: Too large resource version: 999999, current: "),
        ("continue=nonsense", 400, "continue key is not valid"),
        ("continue=eyJ2IjoiIn0&resourceVersion=1", 400,
         "specifying resource version is not allowed when using continue"),
        ("limit=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
    ],
)  # fmt: skip
def test_what_contradicts_itself(ask: Raw, query: str, code: int, message: str) -> None:
    answer = ask("GET", f"{MAPS}?{query}")
    assert answer.code == code, answer.text
    assert message in answer.obj["message"]


@pytest.mark.parametrize("said", ["watch=True", "watch=1", "watch=t", "watch", "watch=", "watch=TRUE"])
def test_a_switch_is_on_unless_it_says_no(ask: Raw, said: str) -> None:
    """Python's client says True, which used to be a list."""
    wrong = f"{MAPS}?resourceVersionMatch=NotOlderThan"  # told in other words to a list and to a watch
    assert "is forbidden for watch unless sendInitialEvents" in ask("GET", f"{wrong}&{said}").text
    for off in ("watch=false", "watch=0", "watch=False"):
        assert "is forbidden unless resourceVersion is provided" in ask("GET", f"{wrong}&{off}").text


def test_what_leaves_a_selection_is_deleted_and_what_enters_it_added(call: Raw) -> None:
    put(call, "a", {"app": "x"})
    put(call, "b", {"app": "y"})
    start = version(call("GET", MAPS).obj)
    with call.watch(f"{MAPS}?labelSelector=app%3Dx&resourceVersion={start}") as events:
        put(call, "b", {"app": "x"}, seen="yes")
        put(call, "a", {"app": "x"}, n="1")
        moved = put(call, "a", {"app": "z"}, n="2")
        put(call, "a", {"app": "z"}, n="3")  # of no concern any more
        call("DELETE", f"{MAPS}/b")
        kinds = [events.next() for _ in range(4)]
        assert [(kind, obj["metadata"]["name"]) for kind, obj in kinds] == [
            ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a"), ("DELETED", "b"),
        ]  # fmt: skip
        left = kinds[2][1]
        assert (left["metadata"]["labels"], left["data"]["n"]) == ({"app": "x"}, "1")  # as its watchers knew it
        assert version(left) == version(moved)  # under the version of what moved it


def test_one_object_may_be_watched_by_name(call: Raw) -> None:
    put(call, "a")
    put(call, "b")
    for path in (f"{MAPS}?fieldSelector=metadata.name%3Da", f"{MAPS}/a"):
        with call.watch(path) as events:
            assert events.named(1) == [("ADDED", "a")]
            put(call, "b", path=path)
            put(call, "a", path=path)
            assert events.named(1) == [("MODIFIED", "a")]


def test_a_watch_of_one_namespace_and_of_all(call: Raw) -> None:
    call("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
    start = version(call("GET", MAPS).obj)
    with (
        call.watch(f"{MAPS}?resourceVersion={start}") as here,
        call.watch(f"/api/v1/configmaps?resourceVersion={start}") as everywhere,
    ):
        call("POST", "/api/v1/namespaces/other/configmaps", {"metadata": {"name": "there"}})
        put(call, "here")
        assert here.named(1) == [("ADDED", "here")]
        assert everywhere.named(2) == [("ADDED", "there"), ("ADDED", "here")]


def test_a_watch_ends_when_its_time_is_over(call: Raw) -> None:
    put(call, "a")
    with call.watch(f"{MAPS}?timeoutSeconds=1") as events:
        assert [kind for kind, _ in events.rest()] == ["ADDED"]


def test_bookmarks_move_a_quiet_watch_on(call: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_EVERY", 0.05)
    monkeypatch.setattr(watching, "_LOOK_AROUND", 0.05)
    put(call, "a")
    moved = version(call("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}}).obj)
    with call.watch(f"{MAPS}?resourceVersion=1&allowWatchBookmarks=true") as events:
        assert events.named(1) == [("ADDED", "a")]
        kind, mark = events.next()
        assert (kind, mark["kind"], version(mark)) == ("BOOKMARK", "ConfigMap", moved)
        assert "annotations" not in mark["metadata"]
    with call.watch(f"{MAPS}?resourceVersion={moved}&timeoutSeconds=1") as events:
        assert events.rest() == []  # unless they are asked for


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[Running]:
    """A server that remembers few changes."""
    server = Running(tmp_path, history=10).start()
    try:
        yield server
    finally:
        server.stop()


def test_what_is_too_old_is_gone(brief: Running) -> None:
    call = Raw(brief)
    for name in "abcd":
        put(call, name)
    page = call("GET", f"{MAPS}?limit=2").obj
    assert (names(page), page["metadata"]["remainingItemCount"]) == (["a", "b"], 2)
    start, token = version(page), page["metadata"]["continue"]
    for number in range(40):
        put(call, "e", n=str(number))
    with call.watch(f"{MAPS}?resourceVersion={start}") as events:
        ((kind, status),) = events.rest()
        assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
        assert status["message"].startswith(f"too old resource version: {start} (")
    exact = call("GET", f"{MAPS}?resourceVersion={start}&resourceVersionMatch=Exact")
    assert (exact.code, exact.obj["reason"]) == (410, "Expired")
    assert exact.obj["message"].startswith("The resourceVersion for the provided list is too old: too old resource v")
    late = call("GET", f"{MAPS}?limit=2&continue={token}")
    assert (late.code, late.obj["reason"]) == (410, "Expired")
    assert late.obj["message"].startswith("The provided continue parameter is too old to display a consistent list")
    anyway = call("GET", f"{MAPS}?continue={late.obj['metadata']['continue']}").obj
    assert names(anyway) == ["c", "d", "e"]
    call.close()


def test_pages_are_of_one_moment(call: Raw) -> None:
    for name in "abcde":
        put(call, name)
    first = call("GET", f"{MAPS}?limit=2").obj
    call("DELETE", f"{MAPS}/c")
    put(call, "d", n="new")
    put(call, "aa")
    second = call("GET", f"{MAPS}?limit=2&continue={first['metadata']['continue']}").obj
    third = call("GET", f"{MAPS}?limit=2&continue={second['metadata']['continue']}").obj
    assert [names(page) for page in (first, second, third)] == [["a", "b"], ["c", "d"], ["e"]]
    assert len({version(page) for page in (first, second, third)}) == 1
    assert not second["items"][1]["data"]
    assert "continue" not in third["metadata"]
    exact = call("GET", f"{MAPS}?resourceVersion={version(first)}&resourceVersionMatch=Exact").obj
    assert (names(exact), version(exact)) == (list("abcde"), version(first))
    newer = call("GET", f"{MAPS}?resourceVersion={version(first)}&resourceVersionMatch=NotOlderThan").obj
    assert names(newer) == ["a", "aa", "b", "d", "e"]
    by_label = call("GET", f"{MAPS}?limit=1&labelSelector=x%21%3Dy").obj["metadata"]
    assert "remainingItemCount" not in by_label  # nobody counts what a selector lets through


def test_a_watch_of_a_table_names_its_columns_once(call: Raw) -> None:
    put(call, "a", k="v")
    put(call, "b")
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    with call.watch(MAPS, Accept=accept) as events:
        first, second = events.next()[1], events.next()[1]
        assert [column["name"] for column in first["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert first["rows"][0]["cells"][:2] == ["a", 1]
        assert (first["kind"], second["columnDefinitions"]) == ("Table", None)
    metadata_only = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    with call.watch(MAPS, Accept=metadata_only) as events:
        obj = events.next()[1]
        assert (obj["kind"], sorted(obj)) == ("PartialObjectMetadata", ["apiVersion", "kind", "metadata"])


def test_a_watch_of_a_custom_kind_ends_when_the_kind_changes(call: Raw) -> None:
    call("POST", CRDS, CRD)
    call("POST", WIDGETS, {"metadata": {"name": "w"}, "spec": {"size": 1}})
    with call.watch(WIDGETS) as events:
        assert events.named(1) == [("ADDED", "w")]
        call("PATCH", f"{CRDS}/widgets.example.com", {"spec": {"names": {"shortNames": ["wi"]}}}, MERGE)
        call("POST", WIDGETS, {"metadata": {"name": "x"}, "spec": {"size": 1}})
        assert events.rest() == []  # the client comes again, and reads by the new definition


def test_two_groups_watch_one_event(call: Raw) -> None:
    told = {
        "metadata": {"name": "e"}, "reason": "R", "message": "m", "type": "Normal",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
    }  # fmt: skip
    with call.watch("/apis/events.k8s.io/v1/namespaces/default/events") as events:
        call("POST", "/api/v1/namespaces/default/events", told)
        obj = events.next()[1]
        assert (obj["apiVersion"], obj["note"], obj["regarding"]["name"]) == ("events.k8s.io/v1", "m", "p")
    selected = call("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp,type%3DNormal")
    assert len(selected.obj["items"]) == 1
