import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.api.kinds import DEPLOYMENT, EVENT, NODE, POD
from clew.api.selectors import FieldSelector, LabelSelector, Requirement, SelectorError


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True), ("a=b", {"a": "b"}, True), ("a==b", {"a": "c"}, False), ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False), ("a in (b, c)", {"a": "c"}, True), ("a in (b,c)", {}, False),
        ("a notin (b,c)", {}, True), ("a notin (b,c)", {"a": "b"}, False), ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("!a", {}, True), ("a>1", {"a": "2"}, True), ("a<1", {"a": "x"}, False), ("a=", {"a": ""}, True),
        ("example.org/x=y,b", {"example.org/x": "y", "b": "1"}, True), ("in=notin", {"in": "notin"}, True),
        ("a in ()", {"a": ""}, True), (" a = b , c ", {"a": "b", "c": ""}, True),
    ],
)  # fmt: skip
def test_label_selectors(text: str, labels: dict, matches: bool) -> None:
    selector = LabelSelector.parse(text)
    assert selector.matches(labels) is matches
    assert LabelSelector.parse(str(selector)) == selector


@pytest.mark.parametrize("text", ["a=b=c", "=b", "a in b", "a in (b", "a,,b", "a>x", "-a", "a=/", "a b", "a=b)", "(a)"])
def test_what_is_no_label_selector(text: str) -> None:
    with pytest.raises(SelectorError):
        LabelSelector.parse(text)


def test_label_selectors_of_objects() -> None:
    selector = LabelSelector.from_object(
        {
            "matchLabels": {"b": "1", "a": "2"},
            "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["y", "x"]},
                {"key": "d", "operator": "DoesNotExist"},
            ],
        }
    )
    assert str(selector) == "a=2,b=1,c in (x,y),!d"
    assert selector.matches({"a": "2", "b": "1", "c": "x"})
    assert not selector.matches({"a": "2", "b": "1", "c": "x", "d": ""})
    assert LabelSelector.from_object(None).matches({"any": "thing"})
    with pytest.raises(SelectorError, match='"Near" is not a valid label selector operator'):
        LabelSelector.from_object({"matchExpressions": [{"key": "a", "operator": "Near"}]})


LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)


@given(LABELS, st.sampled_from("abc"), st.sets(st.sampled_from("xyz"), min_size=1))
def test_a_requirement_and_its_negation_are_never_both_true(labels: dict, key: str, values: set) -> None:
    chosen = tuple(sorted(values))
    assert Requirement(key, "in", chosen).matches(labels) != Requirement(key, "notin", chosen).matches(labels)
    assert Requirement(key, "exists").matches(labels) != Requirement(key, "!").matches(labels)


POD_ON_NODE = {
    "metadata": {"name": "a", "namespace": "n"}, "spec": {"nodeName": "node-1"},
    "status": {"phase": "Running", "podIPs": [{"ip": "1.2.3.4"}, {"ip": "::1"}]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("metadata.name=a", True), ("spec.nodeName!=node-1", False),
        ("status.phase!=Failed,status.phase!=Succeeded", True),
        ("spec.nodeName=", False), ("status.podIPs=1.2.3.4\\,::1", True), ("spec.hostNetwork=false", True),
        ("metadata.namespace==n", True), ("", True),
    ],
)  # fmt: skip
def test_field_selectors(text: str, matches: bool) -> None:
    selector = FieldSelector.parse(text)
    assert selector.matches(POD_ON_NODE) is matches
    assert selector.unsupported(POD) is None


def test_the_source_of_an_event() -> None:
    assert FieldSelector.parse("source=kubelet").matches({"source": {"component": "kubelet"}})
    assert FieldSelector.parse("source=kubelet").matches({"reportingComponent": "kubelet"})


@pytest.mark.parametrize("text", ["a", "=b", "a>b"])
def test_what_is_no_field_selector(text: str) -> None:
    with pytest.raises(SelectorError):
        FieldSelector.parse(text)


def test_fields_that_a_kind_does_not_offer() -> None:
    assert FieldSelector.parse("metadata.name=a,spec.x=1").unsupported(POD) == "spec.x"
    assert FieldSelector.parse("spec.nodeName=a").unsupported(DEPLOYMENT) == "spec.nodeName"
    assert FieldSelector.parse("involvedObject.uid=a").unsupported(EVENT) is None
    assert FieldSelector.parse("metadata.namespace=a").unsupported(NODE) == "metadata.namespace"
    assert FieldSelector.parse("spec.color=a").unsupported(DEPLOYMENT, frozenset({"spec.color"})) is None


def test_a_pinned_field() -> None:
    selector = FieldSelector.parse("metadata.name=a,status.phase!=x")
    assert (selector.exact("metadata.name"), selector.exact("status.phase")) == ("a", None)
