"""Server-side apply as users meet it: two managers, one object."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.api import shapes
from clew.api.apply import ApplyConflict, ApplyError, server_side_apply, track_update
from clew.api.apply.fields import in_words, paths
from clew.api.apply.update import SEED, _seeded
from clew.api.apply.values import difference, everything
from clew.api.kinds import CONFIG_MAP, DEPLOYMENT, POD, SERVICE, Kind

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(seconds=60)


def deployment(replicas: int | None = None, *containers: dict, **labels: str) -> dict[str, Any]:
    obj: dict[str, Any] = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {"containers": list(containers)}}},
    }  # fmt: skip
    if labels:
        obj["metadata"]["labels"] = labels
    if replicas is not None:
        obj["spec"]["replicas"] = replicas
    return obj


def config(**data: str | None) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}, "data": data}


def entry(obj: dict, manager: str, subresource: str = "") -> dict[str, Any] | None:
    entries = obj["metadata"].get("managedFields", [])
    return next((e for e in entries if e["manager"] == manager and e.get("subresource", "") == subresource), None)


def owned(obj: dict, manager: str, subresource: str = "") -> set[str]:
    found = entry(obj, manager, subresource)
    return {in_words(path) for path in paths(found["fieldsV1"])} if found else set()


WEB = {"name": "web", "image": "nginx:1"}


def test_an_applied_object_is_owned_by_field_and_by_key() -> None:
    made = server_side_apply(DEPLOYMENT, None, deployment(2, WEB, tier="front"), "kubectl", NOW)
    found = entry(made, "kubectl")
    assert found == {
        "manager": "kubectl", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-02T03:04:05Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {"f:labels": {"f:tier": {}}},
            "f:spec": {
                "f:replicas": {}, "f:selector": {},
                "f:template": {"f:spec": {"f:containers": {
                    'k:{"name":"web"}': {".": {}, "f:image": {}, "f:name": {}},
                }}},
            },
        },
    }  # fmt: skip


def test_ports_are_named_by_port_and_protocol_even_where_the_protocol_is_left_out() -> None:
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "name": "http"}]}}
    made = server_side_apply(SERVICE, None, service, "k", NOW)
    assert '.spec.ports[port=80,protocol="TCP"].name' in owned(made, "k")
    made["spec"]["ports"][0]["protocol"] = "TCP"  # as defaulting does
    service["spec"]["ports"][0]["name"] = "web"
    again = server_side_apply(SERVICE, made, service, "k", NOW)
    assert again["spec"]["ports"] == [{"port": 80, "name": "web", "protocol": "TCP"}]


def test_a_conflict_names_the_manager_and_the_field() -> None:
    live = track_update(DEPLOYMENT, None, deployment(3, WEB), "kubectl-client-side-apply", "Update", "", NOW)
    with pytest.raises(ApplyConflict) as caught:
        server_side_apply(DEPLOYMENT, live, deployment(5, WEB), "kubectl", NOW)
    text = 'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas'
    assert str(caught.value) == text
    assert caught.value.causes == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-client-side-apply" using apps/v1',
            "field": ".spec.replicas",
        }
    ]


def test_several_conflicts_are_listed_by_manager() -> None:
    live = server_side_apply(CONFIG_MAP, None, config(a="1", b="1"), "one", NOW)
    live = server_side_apply(CONFIG_MAP, live, config(c="1"), "two", NOW)
    with pytest.raises(ApplyConflict) as caught:
        server_side_apply(CONFIG_MAP, live, config(a="2", b="2", c="2"), "three", NOW)
    assert str(caught.value) == (
        'Apply failed with 3 conflicts: conflicts with "one":\n- .data.a\n- .data.b\nconflicts with "two":\n- .data.c'
    )


def test_scaling_by_the_subresource_is_told_apart() -> None:
    live = server_side_apply(DEPLOYMENT, None, deployment(1, WEB), "kubectl", NOW)
    scaled = {**live, "spec": {**live["spec"], "replicas": 4}}
    live = track_update(DEPLOYMENT, live, scaled, "hpa", "Update", "scale", NOW)
    assert owned(live, "hpa", "scale") == {".spec.replicas"}
    assert ".spec.replicas" not in owned(live, "kubectl")
    with pytest.raises(ApplyConflict, match='conflict with "hpa" with subresource "scale" using apps/v1'):
        server_side_apply(DEPLOYMENT, live, deployment(2, WEB), "kubectl", NOW)


def test_force_takes_the_field() -> None:
    live = track_update(DEPLOYMENT, None, deployment(3, WEB), "edit", "Update", "", NOW)
    made = server_side_apply(DEPLOYMENT, live, deployment(5, WEB), "kubectl", LATER, force=True)
    assert made["spec"]["replicas"] == 5
    assert ".spec.replicas" in owned(made, "kubectl")
    assert ".spec.replicas" not in owned(made, "edit")


def test_two_appliers_of_one_value_share_it_and_the_last_to_leave_removes_it() -> None:
    live = server_side_apply(CONFIG_MAP, None, config(a="1"), "one", NOW)
    live = server_side_apply(CONFIG_MAP, live, config(a="1"), "two", NOW)
    live = server_side_apply(CONFIG_MAP, live, config(), "one", NOW)
    assert live["data"] == {"a": "1"}
    live = server_side_apply(CONFIG_MAP, live, config(), "two", NOW)
    assert live.get("data", {}) == {}


def test_what_is_not_applied_any_more_goes_and_defaults_beside_it_stay() -> None:
    side = {"name": "side", "image": "s"}
    live = server_side_apply(DEPLOYMENT, None, deployment(2, WEB, side), "kubectl", NOW)
    for container in live["spec"]["template"]["spec"]["containers"]:
        container["imagePullPolicy"] = "Always"
    made = server_side_apply(DEPLOYMENT, live, deployment(None, WEB), "kubectl", NOW)
    assert made["spec"]["template"]["spec"]["containers"] == [{**WEB, "imagePullPolicy": "Always"}]
    assert "replicas" not in made["spec"]
    assert made["metadata"]["name"] == "web"


def test_an_item_in_which_another_owns_a_field_stays() -> None:
    live = server_side_apply(DEPLOYMENT, None, deployment(1, WEB, {"name": "b", "image": "b"}), "one", NOW)
    live = server_side_apply(DEPLOYMENT, live, deployment(None, {"name": "b", "workingDir": "/x"}), "two", NOW)
    made = server_side_apply(DEPLOYMENT, live, deployment(1, WEB), "one", NOW)
    assert made["spec"]["template"]["spec"]["containers"] == [WEB, {"name": "b", "workingDir": "/x"}]


def test_applying_the_same_again_changes_nothing_not_even_the_time() -> None:
    live = server_side_apply(DEPLOYMENT, None, deployment(2, WEB), "kubectl", NOW)
    assert server_side_apply(DEPLOYMENT, live, deployment(2, WEB), "kubectl", LATER) == live


def test_applying_another_value_renews_the_time() -> None:
    live = server_side_apply(DEPLOYMENT, None, deployment(2, WEB), "kubectl", NOW)
    made = server_side_apply(DEPLOYMENT, live, deployment(3, WEB), "kubectl", LATER)
    assert entry(made, "kubectl")["time"] == "2026-01-02T03:05:05Z"


def test_an_applied_change_passes_through_the_tracking_of_writes() -> None:
    """The registry tracks every write; even a second apply within one second stays the applier's alone."""
    live = server_side_apply(DEPLOYMENT, None, deployment(2, WEB), "kubectl", NOW)
    live = track_update(DEPLOYMENT, None, live, "kubectl", "Apply", "", NOW)
    made = server_side_apply(DEPLOYMENT, live, deployment(3, WEB), "kubectl", NOW)
    made = track_update(DEPLOYMENT, live, made, "kubectl", "Apply", "", NOW)
    assert [(each["manager"], each["operation"]) for each in made["metadata"]["managedFields"]] == [
        ("kubectl", "Apply")
    ]


def test_kubectl_takes_over_what_its_client_side_apply_set() -> None:
    applied = deployment(3, WEB)
    applied["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": json.dumps(deployment(3, WEB))
    }
    live = track_update(DEPLOYMENT, None, applied, "kubectl-client-side-apply", "Update", "", NOW)
    made = server_side_apply(DEPLOYMENT, live, deployment(5, WEB), "kubectl", NOW)
    assert made["spec"]["replicas"] == 5
    last = made["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert json.loads(last)["spec"]["replicas"] == 5
    with pytest.raises(ApplyConflict):
        server_side_apply(DEPLOYMENT, live, deployment(5, WEB), "another", NOW)


def test_a_null_removes_a_field() -> None:
    live = server_side_apply(CONFIG_MAP, None, config(a="1", b="2"), "one", NOW)
    made = server_side_apply(CONFIG_MAP, live, config(a=None, b="2"), "one", NOW)
    assert made["data"] == {"b": "2"}


def test_atomic_structs_and_lists_have_one_owner() -> None:
    live = server_side_apply(DEPLOYMENT, None, deployment(1, WEB), "one", NOW)
    assert ".spec.selector" in owned(live, "one")
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{**WEB, "args": ["a"]}], "tolerations": [{"key": "x"}]}}
    made = server_side_apply(POD, None, pod, "one", NOW)
    assert '.spec.containers[name="web"].args' in owned(made, "one")
    assert ".spec.tolerations" in owned(made, "one")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"foo": 1}, ".spec.foo: field not declared in schema"),
        ({"replicas": "x"}, '.spec.replicas: expected numeric, got "x"'),
        (
            {"template": {"spec": {"containers": [{"image": "x"}]}}},
            ".spec.template.spec.containers: element 0: associative list with keys has an element that omits key field",
        ),
        (
            {"template": {"spec": {"containers": [{"name": "x"}, {"name": "x"}]}}},
            '.spec.template.spec.containers: duplicate entries for key [name="x"]',
        ),
    ],
)
def test_an_object_that_does_not_fit_its_kind(change: dict, text: str) -> None:
    applied = deployment(1, WEB)
    applied["spec"] |= change
    with pytest.raises(ApplyError) as caught:
        server_side_apply(DEPLOYMENT, None, applied, "k", NOW)
    assert str(caught.value).startswith(
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): " + text
    )


def test_the_status_is_owned_through_its_own_door() -> None:
    applied = {**deployment(1, WEB), "status": {"replicas": 1}}
    made = server_side_apply(DEPLOYMENT, None, applied, "k", NOW)
    assert not any(field.startswith(".status") for field in owned(made, "k"))
    made = server_side_apply(DEPLOYMENT, made, {"status": {"replicas": 1}}, "c", NOW, subresource="status")
    assert owned(made, "c", "status") == {".status.replicas"}
    assert made["spec"]["replicas"] == 1


def test_creating_owns_everything_but_the_structs_that_are_always_there() -> None:
    made = track_update(DEPLOYMENT, None, deployment(1, WEB, tier="x"), "kubectl-create", "Update", "", NOW)
    assert entry(made, "kubectl-create")["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:tier": {}}},
        "f:spec": {
            "f:replicas": {}, "f:selector": {},
            "f:template": {"f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}, "f:name": {}}}}},
        },
    }  # fmt: skip


def test_updating_moves_ownership_of_what_changed_only() -> None:
    live = track_update(CONFIG_MAP, None, config(a="1", b="1"), "one", "Update", "", NOW)
    changed = {**live, "data": {"a": "2", "b": "1", "c": "1"}}
    made = track_update(CONFIG_MAP, live, changed, "two", "Update", "", LATER)
    assert owned(made, "two") == {".data.a", ".data.c"}
    assert owned(made, "one") == {".data", ".data.b"}
    gone = track_update(CONFIG_MAP, made, {**made, "data": {"b": "1"}}, "three", "Update", "", LATER)
    assert owned(gone, "two") == set()
    assert owned(gone, "three") == set()


def test_the_status_of_a_controller() -> None:
    live = track_update(DEPLOYMENT, None, deployment(1, WEB), "k", "Update", "", NOW)
    made = track_update(DEPLOYMENT, live, {**live, "status": {"replicas": 1}}, "controller", "Update", "status", NOW)
    assert owned(made, "controller", "status") == {".status", ".status.replicas"}


def test_managed_fields_can_be_reset_and_never_lost() -> None:
    live = track_update(CONFIG_MAP, None, config(a="1"), "one", "Update", "", NOW)
    silent = {**live, "metadata": {key: value for key, value in live["metadata"].items() if key != "managedFields"}}
    assert track_update(CONFIG_MAP, live, silent, "two", "Update", "", NOW)["metadata"] == live["metadata"]
    reset = {**live, "metadata": {**live["metadata"], "managedFields": [{}]}}
    assert "managedFields" not in track_update(CONFIG_MAP, live, reset, "two", "Update", "", NOW)["metadata"]


def test_old_updaters_are_folded_together() -> None:
    live = track_update(CONFIG_MAP, None, config(x="0"), "m0", "Update", "", NOW)
    for number in range(1, 15):
        moment = NOW + timedelta(seconds=number)
        changed = {**live, "data": {**live["data"], f"k{number}": "1"}}
        live = track_update(CONFIG_MAP, live, changed, f"m{number}", "Update", "", moment)
    managers = [each["manager"] for each in live["metadata"]["managedFields"]]
    assert len(managers) == 10
    assert "ancient-changes" in managers
    assert ".data.k1" in owned(live, "ancient-changes")


WIDGET = Kind("example.org", "v1", "Widget", "widgets", True)


def test_custom_kinds_merge_by_their_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"rules": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "integer"}}},
        }}}},
    }  # fmt: skip
    shape = shapes.of_schema(schema)
    one = {"metadata": {"name": "w"}, "spec": {"rules": [{"name": "a", "value": 1}]}}
    two = {"metadata": {"name": "w"}, "spec": {"rules": [{"name": "b", "value": 2}]}}
    live = server_side_apply(WIDGET, None, one, "one", NOW, shape=shape)
    live = server_side_apply(WIDGET, live, two, "two", NOW, shape=shape)
    assert [rule["name"] for rule in live["spec"]["rules"]] == ["a", "b"]
    assert server_side_apply(WIDGET, live, {"metadata": {"name": "w"}}, "one", NOW, shape=shape)["spec"] == two["spec"]
    assert server_side_apply(WIDGET, None, one, "x", NOW)["spec"] == one["spec"]


DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)
STEPS = st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), DATA, st.booleans()), max_size=8)


@given(STEPS)
def test_whatever_is_applied_each_applier_owns_what_it_applied_and_nothing_ownerless_stays(steps: list) -> None:
    live: dict[str, Any] | None = None
    for manager, data, force in steps:
        try:
            live = server_side_apply(CONFIG_MAP, live, config(**data), manager, NOW, force=force)
        except ApplyConflict:
            continue
        assert {key: live["data"][key] for key in data} == data if data else True
        assert {f".data.{key}" for key in data} <= owned(live, manager)
        holders = set().union(*(owned(live, each) for each in ("one", "two", "three")))
        assert {f".data.{key}" for key in live.get("data", {})} == {field for field in holders if field != ".data"}


@given(DATA, DATA)
def test_an_update_leaves_every_field_with_exactly_one_updater(first: dict, second: dict) -> None:
    live = track_update(CONFIG_MAP, None, config(**first), "one", "Update", "", NOW)
    made = track_update(CONFIG_MAP, live, {**live, "data": second}, "two", "Update", "", NOW)
    one, two = owned(made, "one"), owned(made, "two")
    assert not one & two
    assert {field for field in one | two if field != ".data"} == {f".data.{key}" for key in second}


VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
CONTAINER = st.fixed_dictionaries(
    {"name": st.sampled_from("xyz")},
    optional={
        "image": st.just("i"), "args": st.lists(st.text("a", max_size=1), max_size=2),
        "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(1, 3)}), max_size=2),
        "resources": st.dictionaries(st.sampled_from(["limits", "requests"]), st.just({"cpu": "1"})),
    },
)  # fmt: skip
NEW_PODS = st.fixed_dictionaries(
    {"metadata": st.dictionaries(st.just("labels"), st.dictionaries(st.sampled_from("ab"), st.just("v")))},
    optional={"spec": st.fixed_dictionaries({}, optional={
        "containers": st.lists(CONTAINER, max_size=3, unique_by=lambda each: each["name"]),
        "nodeSelector": st.dictionaries(st.sampled_from("ab"), st.just("v")),
        "tolerations": st.lists(st.just({"key": "k"}), max_size=2), "hostname": st.text("h", max_size=1),
    }), "status": st.just({"phase": "Pending"})},
)  # fmt: skip


@given(NEW_PODS)
def test_a_new_object_is_owned_as_its_difference_from_nothing(pod: dict) -> None:
    """The short way of creations against the long one of changes."""
    seed = _seeded(SEED, pod)
    changes = difference(shapes.of_kind(POD) or shapes.ANY, seed, pod)
    told = everything(shapes.of_kind(POD) or shapes.ANY, pod, seed)
    assert set(paths(told)) == {path for path in (*changes.added, *changes.modified) if path}


@given(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3))
def test_free_objects_too(obj: dict) -> None:
    changes = difference(shapes.ANY, {}, obj)
    assert set(paths(everything(shapes.ANY, obj, {}))) == {path for path in changes.added if path}
