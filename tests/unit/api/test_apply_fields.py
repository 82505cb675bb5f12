from hypothesis import given
from hypothesis import strategies as st

from clew.api.apply import fields

KEYS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
PATHS = st.lists(KEYS, min_size=1, max_size=4).map(tuple)
SETS = st.sets(PATHS, max_size=8)


@given(SETS)
def test_a_set_of_paths_survives_the_form_of_managed_fields(members: set) -> None:
    made = fields.from_paths(members)
    assert set(fields.paths(made)) == members
    assert all(fields.contains(made, path) for path in members)


@given(SETS, PATHS)
def test_contains_is_membership(members: set, path: tuple) -> None:
    assert fields.contains(fields.from_paths(members), path) == (path in members)


@given(SETS, PATHS)
def test_discard_takes_out_one_member_and_leaves_no_empty_shell(members: set, path: tuple) -> None:
    made = fields.from_paths(members)
    fields.discard(made, path)
    assert set(fields.paths(made)) == members - {path}
    assert made == fields.from_paths(members - {path})


@given(SETS, SETS)
def test_union(one: set, other: set) -> None:
    made = fields.from_paths(one)
    assert set(fields.paths(fields.union(made, fields.from_paths(other)))) == one | other
    assert set(fields.paths(made)) == one


def test_members_that_hold_members_carry_a_dot() -> None:
    made = fields.from_paths([("f:labels",), ("f:labels", "f:a"), ("f:spec", "f:replicas")])
    assert made == {"f:labels": {".": {}, "f:a": {}}, "f:spec": {"f:replicas": {}}}


def test_in_words() -> None:
    key = 'k:{"port":80,"protocol":"TCP"}'
    assert fields.in_words(("f:spec", "f:ports", key, "f:name")) == '.spec.ports[port=80,protocol="TCP"].name'
    assert fields.in_words(("f:metadata", "f:finalizers", 'v:"x/y"')) == '.metadata.finalizers[="x/y"]'
