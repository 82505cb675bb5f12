"""Slices partition the endpoints, keep what stays where it is, and few are written."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clew.api.objects import Object, clone
from clew.cluster.controllers.endpoints.packing import Changes, Frame, Group, pack

FRAME = Frame({"metadata": {"generateName": "web-", "namespace": "d", "ownerReferences": []}}, {"a": "b"}, {})
PORTS = [{"name": "", "port": 80, "protocol": "TCP"}]


def endpoint(number: int, *, ready: bool = True) -> Object:
    return {"addresses": [f"10.0.0.{number}"], "conditions": {"ready": ready}, "targetRef": {"uid": f"u{number}"}}


def group(*numbers: int, ports: list[Object] | None = None, **more: Any) -> Group:
    return Group("IPv4", PORTS if ports is None else ports, [endpoint(number, **more) for number in numbers])


class Server:
    """Holds slices as the API server would."""

    def __init__(self) -> None:
        self.slices: dict[str, Object] = {}
        self.made = 0

    def apply(self, changes: Changes) -> None:
        for made in changes.create:
            self.made += 1
            stored = clone(made)
            stored["metadata"]["name"] = f"web-{self.made:03}"
            self.slices[stored["metadata"]["name"]] = stored
        for changed in changes.update:
            assert changed["metadata"]["name"] in self.slices
            self.slices[changed["metadata"]["name"]] = clone(changed)
        for stale in changes.delete:
            del self.slices[stale["metadata"]["name"]]

    def to(self, *groups: Group, most: int = 3) -> Changes:
        changes = pack(groups, list(self.slices.values()), FRAME, most)
        self.apply(changes)
        return changes

    def contents(self) -> list[tuple[str, bool]]:
        return sorted(
            (each["addresses"][0], each["conditions"]["ready"])
            for piece in self.slices.values()
            for each in piece["endpoints"]
        )


def test_a_service_without_endpoints_has_one_empty_slice() -> None:
    server = Server()
    assert len(server.to(Group("IPv4", [], [])).create) == 1
    assert server.to(Group("IPv4", [], [])).nothing


def test_full_slices_are_left_alone_when_one_comes() -> None:
    server = Server()
    server.to(group(*range(1, 7)))
    changes = server.to(group(*range(1, 8)))
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (1, 0, 0)


def test_one_that_goes_makes_room_for_one_that_comes() -> None:
    server = Server()
    server.to(group(*range(1, 7)))
    changes = server.to(group(1, 2, 4, 5, 6, 7))
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)


def test_a_changed_condition_changes_one_slice_in_place() -> None:
    server = Server()
    server.to(group(*range(1, 7)))
    wanted = group(*range(1, 7))
    wanted.endpoints[0]["conditions"] = {"ready": False}
    changes = server.to(wanted)
    assert len(changes.update) == 1
    assert not changes.create
    assert server.contents()[0] == ("10.0.0.1", False)


def test_the_last_endpoint_leaves_an_empty_slice_behind() -> None:
    server = Server()
    server.to(group(1))
    changes = server.to(Group("IPv4", [], []))
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)
    (left,) = server.slices.values()
    assert left["endpoints"] == []
    changes = server.to(group(2))
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)


def test_labels_of_the_service_follow() -> None:
    server = Server()
    server.to(group(1))
    changes = pack([group(1)], list(server.slices.values()), Frame(FRAME.like, {"a": "c"}, {}))
    assert [each["metadata"]["labels"] for each in changes.update] == [{"a": "c"}]


STATES = st.lists(st.sets(st.integers(1, 20)), min_size=1, max_size=6)


@given(STATES, st.integers(1, 5))
def test_slices_are_a_partition_whatever_came_before(states: list[set[int]], most: int) -> None:
    server = Server()
    for numbers in states:
        odd = [number for number in sorted(numbers) if number % 2]
        even = [number for number in sorted(numbers) if not number % 2]
        other = [{"name": "x", "port": 81, "protocol": "TCP"}]
        groups = [one for one in (group(*odd), group(*even, ports=other)) if one.endpoints] or [Group("IPv4", [], [])]
        server.to(*groups, most=most)
        assert server.contents() == sorted((f"10.0.0.{number}", True) for number in numbers)
        assert all(len(each["endpoints"]) <= most for each in server.slices.values())
        for piece in server.slices.values():
            parity = {int(each["addresses"][0].rpartition(".")[2]) % 2 for each in piece["endpoints"]}
            assert len(parity) <= 1
        assert pack(groups, list(server.slices.values()), FRAME, most).nothing
        assert len(server.slices) >= 1
