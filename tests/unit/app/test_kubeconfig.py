"""The document: whatever a user keeps in it, a lab's entries come in and go out again and the rest is as it was."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.app import kubeconfig
from clew.app.kubeconfig import BrokenError

NEW = kubeconfig.entry("x", "https://127.0.0.1:1", b"ca", b"cert", b"key")

texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
# what a careless reader of YAML turns into something else
scalars = st.one_of(
    texts, st.sampled_from(["0755", "1e3", "yes", "2024-01-01", "null", "~", "a: b", "# no"]), st.none(), st.booleans(),
    st.integers(),
)  # fmt: skip
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
entries = st.lists(st.fixed_dictionaries({"name": texts}, optional={"extra": values, "cluster": values}), max_size=3)
documents = st.fixed_dictionaries(
    {},
    optional={
        "apiVersion": st.just("v1"), "kind": st.just("Config"), "current-context": texts,
        "clusters": entries | st.none(), "users": entries | st.none(), "contexts": entries | st.none(),
        "preferences": values, "extensions": values, "something-else": values,
    },
)  # fmt: skip


def load(text: str) -> Any:
    return yaml.safe_load(text)


def merged(text: str) -> tuple[str, kubeconfig.Footprint]:
    text, footprint = kubeconfig.put(text, NEW)
    return kubeconfig.use(text, "clew-x"), footprint


@settings(deadline=None, max_examples=20)
@given(documents, st.sampled_from(["block", "flow", "json"]))
def test_in_and_out_again_leaves_the_former_document(document: dict[str, Any], style: str) -> None:
    before = (
        json.dumps(document, ensure_ascii=False)
        if style == "json"
        else yaml.safe_dump(document, default_flow_style=style == "flow")
    )
    within, footprint = merged(before)
    assert load(within)["current-context"] == "clew-x"
    assert [each["name"] for each in load(within)["clusters"]].count("clew-x") == 1
    after = kubeconfig.use(kubeconfig.take(within, "clew-x", footprint), footprint.former)
    assert load(after) == document


def test_scalars_stay_as_they_were_written() -> None:
    """A mode 0755 was once 493 afterwards, and a date a datetime."""
    text = (
        "kind: Config\nusers:\n- name: a\n  user:\n    mode: 0755\n    since: 2024-01-01\n    on: yes\n    key: 'x'\n"
    )
    within, footprint = merged(text)
    after = kubeconfig.use(kubeconfig.take(within, "clew-x", footprint), footprint.former)
    assert after == text


COMMENTED = """\
# mine
apiVersion: v1
kind: Config

# where I work
current-context: work   # usually
clusters:
  # the first
  - name: work  # of the firm
    cluster: {server: "https://work"}
  # the end of clusters
users:
- name: work
  user:
    exec:
      args: [a,   b]
    note: |
      two
      lines

# no contexts yet
contexts: []  # none
preferences: {}
# the end
"""


@pytest.mark.parametrize(
    "text",
    [
        COMMENTED,
        COMMENTED.replace("\n", "\r\n"),
        COMMENTED.replace("contexts: []  # none\n", ""),
        COMMENTED.removesuffix("# the end\n"),
        "---\n" + COMMENTED,
        '{"kind": "Config", "users": [{"name": "a"}],\n "clusters": [], "contexts": [ {"name":"a"} ] , "x": "a"}\n',
        "{users: [], clusters: [{name: a},], contexts: [], current-context: b,}\n",
    ],
)
def test_in_and_out_again_leaves_every_byte(text: str) -> None:
    """Comments, spaces, line ends, order: the file is its owner's."""
    within, footprint = merged(text)
    for line in text.splitlines():
        if "#" in line and "current-context" not in line:
            assert line.replace("contexts: []", "contexts:") in within.splitlines()
    assert kubeconfig.names(within, "clusters")[-1] == "clew-x"
    after = kubeconfig.use(kubeconfig.take(within, "clew-x", footprint), footprint.former)
    assert after.replace('"work"', "work").replace('"b"', "b") == text.replace('"work"', "work").replace('"b"', "b")


def test_a_file_without_a_last_line_end_gets_one() -> None:
    within, footprint = merged("kind: Config\nusers:\n- name: a")
    after = kubeconfig.use(kubeconfig.take(within, "clew-x", footprint), footprint.former)
    assert after == "kind: Config\nusers:\n- name: a\n"


def test_a_file_written_as_json_stays_one() -> None:
    within, _ = merged('{"kind": "Config", "clusters": [], "users": null, "preferences": {"colors": true}}')
    assert json.loads(within)["users"][0]["name"] == "clew-x"


def test_a_second_merge_replaces_the_first() -> None:
    within, _ = merged("")
    again, _ = kubeconfig.put(within, {**NEW, "clusters": [{"name": "clew-x", "cluster": {"server": "https://b"}}]})
    assert load(again)["clusters"] == [{"name": "clew-x", "cluster": {"server": "https://b"}}]


def test_a_document_of_only_our_own_is_bare_afterwards() -> None:
    within, footprint = merged("")
    after = kubeconfig.use(kubeconfig.take(within, "clew-x", footprint), footprint.former)
    assert kubeconfig.bare(after)
    assert not kubeconfig.bare(within)
    assert not kubeconfig.bare("users: [{name: a}]")
    assert not kubeconfig.bare("current-context: somewhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "line 1: expected the node content"),
        ("- a", "not a mapping"),
        ("clusters: {}", "clusters: not a list"),
        ("users: [a]", "users[0]: not a mapping"),
        ("a: 1\n---\nb: 1", "more than one document"),
        ("a: \x01", "not YAML"),
        ("users: [&a {name: b}]\ncontexts: [*a]", "line 2: an alias"),
    ],
)
def test_what_is_no_kubeconfig_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(BrokenError) as error:
        kubeconfig.put(text, NEW)
    assert message in str(error.value)
