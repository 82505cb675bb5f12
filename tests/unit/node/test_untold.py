"""Plain routes that serve until a routing protocol has told its own."""

from clew.ir.routes import PodRoute
from clew.node.untold import Untold

SUBNETS = ("172.30.0.11/24", "fd00:172:30::b/64")


def way(number: int, at: str = "") -> PodRoute:
    return PodRoute(f"10.244.{number}.0/24", at or f"172.30.0.{10 + number}", f"Node node-{number}")


def ways(*found: PodRoute) -> dict[str, PodRoute]:
    return {each.destination: each for each in found}


def test_each_new_node_of_our_subnets_until_it_is_told() -> None:
    untold = Untold()
    far = way(3, "192.0.2.1")
    assert untold.ways(ways(way(2), far), SUBNETS) == ([way(2)], []), "no plain route reaches another subnet"
    assert not untold.told({"10.244.9.0/24": "172.30.0.19"})
    assert untold
    assert untold.told({"10.244.2.0/24": "172.30.0.1"}), "by whatever router"
    assert not untold
    assert untold.ways(ways(way(2), way(4), far), SUBNETS) == ([way(4)], [way(2)]), "behind what was told once"
    assert untold.ways(ways(way(2)), SUBNETS) == ([], [way(2)]), "a node that has gone"


def test_a_node_that_moves_is_untold_while_the_old_route_is_there() -> None:
    untold = Untold()
    untold.ways(ways(way(2)), SUBNETS)
    untold.told({"10.244.2.0/24": "172.30.0.12"})
    assert untold.ways(ways(way(2, "172.30.0.77")), SUBNETS) == ([way(2, "172.30.0.77")], [])
    assert not untold.told({"10.244.2.0/24": "172.30.0.12"})
    assert not untold.told({}), "withdrawn, and the new one not there yet"
    assert untold.told({"10.244.2.0/24": "172.30.0.77"})


def test_another_protocol_has_to_tell_everything_anew() -> None:
    untold = Untold()
    untold.ways(ways(way(2)), SUBNETS)
    untold.told({"10.244.2.0/24": "172.30.0.12"})
    untold.begin()
    assert untold.ways(ways(way(2)), SUBNETS) == ([way(2)], [])
