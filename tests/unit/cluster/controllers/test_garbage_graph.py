from typing import Any

import pytest

from clew.api.kinds import CONFIG_MAP, POD, REPLICA_SET
from clew.cluster.controllers.garbage.graph import Graph, Verdict, item, verdict


def put(graph: Graph, uid: str, *owners: str, **meta: Any) -> list[str]:
    blocks = meta.pop("blocks", True)
    references = [
        {"uid": owner, "kind": "ReplicaSet", "apiVersion": "apps/v1", "name": owner, "blockOwnerDeletion": blocks}
        for owner in owners
    ]
    obj = {"metadata": {"namespace": "d", "name": uid, "uid": uid, "ownerReferences": references, **meta}}
    return graph.put(item(REPLICA_SET if uid.startswith("owner") else POD, obj))


DELETING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


def decide(graph: Graph, uid: str, *absent: str) -> Verdict:
    found = graph.get(uid)
    assert found is not None
    return verdict(graph, found, frozenset(absent))


def test_a_living_owner_keeps_it_and_the_gone_ones_are_shed() -> None:
    graph = Graph()
    put(graph, "owner")
    put(graph, "pod", "owner", "ghost")
    assert decide(graph, "pod", "ghost") == Verdict(shed=("ghost",))


def test_without_any_owner_left_it_goes() -> None:
    graph = Graph()
    put(graph, "pod", "ghost")
    assert decide(graph, "pod", "ghost") == Verdict(delete="Background")


def test_nothing_is_deleted_on_a_guess() -> None:
    graph = Graph()
    put(graph, "pod", "unknown")
    assert decide(graph, "pod") == Verdict()


@pytest.mark.parametrize(("finalizer", "expected"), [("orphan", "Orphan"), ("foregroundDeletion", "Foreground")])
def test_its_own_finalizers_say_how(finalizer: str, expected: str) -> None:
    graph = Graph()
    put(graph, "pod", "ghost", finalizers=[finalizer])
    assert decide(graph, "pod", "ghost").delete == expected


def test_an_owner_that_waits_takes_its_dependents_first() -> None:
    graph = Graph()
    put(graph, "owner")
    put(graph, "pod", "owner")
    assert set(put(graph, "owner", finalizers=["foregroundDeletion"], **DELETING)) == {"owner", "pod"}
    assert decide(graph, "pod").delete == "Background"
    assert [each.uid for each in graph.blocking("owner")] == ["pod"]
    assert graph.drop("pod") == ["owner"]
    assert graph.blocking("owner") == []


def test_a_dependent_with_dependents_is_deleted_in_the_foreground_too() -> None:
    graph = Graph()
    put(graph, "owner", finalizers=["foregroundDeletion"], **DELETING)
    put(graph, "owner-middle", "owner")
    put(graph, "pod", "owner-middle")
    assert decide(graph, "owner-middle").delete == "Foreground"


def test_one_that_does_not_block_is_not_waited_for() -> None:
    graph = Graph()
    put(graph, "owner", finalizers=["foregroundDeletion"], **DELETING)
    put(graph, "pod", "owner", blocks=False)
    assert graph.blocking("owner") == []


def test_dependents_are_looked_at_when_their_owner_goes_whatever_came_first() -> None:
    graph = Graph()
    assert put(graph, "pod", "owner") == ["pod"]
    assert put(graph, "owner") == []
    assert graph.drop("owner") == ["pod"]


def test_what_is_unchanged_is_not_looked_at() -> None:
    graph = Graph()
    put(graph, "pod", "owner")
    assert put(graph, "pod", "owner") == []


def test_another_kind_without_owners_is_left_alone() -> None:
    graph = Graph()
    obj = {"metadata": {"namespace": "d", "name": "c", "uid": "c"}}
    assert graph.put(item(CONFIG_MAP, obj)) == []
    assert decide(graph, "c") == Verdict()
