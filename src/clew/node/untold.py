"""Routes to pods that a routing protocol has not told yet, or tells no more: what leads there meanwhile.

A protocol takes a second or more until its routers have told each other what is new, OSPF six. The list of nodes knows
it at once: until the kernel has the protocol's route to a range for the first time, the plain route serves, as host-gw
has it. BIRD's has a greater metric and stands beside it. From then on the plain route stands behind BIRD's: when that
is withdrawn while the node is there (its agent was told of another way before ours was), packets take it at once. All
of it holds for nodes of our own subnets: a plain route reaches no others. No task, no kernel: called by podnet.py.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_interface

from clew.base.addresses import address
from clew.ir.routes import PodRoute


class Untold:
    def __init__(self) -> None:
        self._known: dict[str, str] = {}  # by destination: the node's address, as the list of nodes had it last
        self._waiting: dict[str, str] = {}  # by destination: where it was before, if anywhere

    def __bool__(self) -> bool:
        """Whether there is anything of the kind."""
        return bool(self._waiting)

    def begin(self) -> None:
        """The protocol is another one: all of it has to be told anew."""
        self._known, self._waiting = {}, {}

    def ways(self, found: Mapping[str, PodRoute], subnets: Iterable[str]) -> tuple[list[PodRoute], list[PodRoute]]:
        """Of all ways to other nodes' pods in `subnets` (as in Underlay) that nobody else leads yet, and the rest.

        The first stand before the protocol's, the others behind.
        """
        networks = [ip_interface(each).network for each in subnets]
        near = {
            destination: way for destination, way in found.items() if any(address(way.via) in each for each in networks)
        }
        for destination, way in near.items():
            before = self._known.get(destination, "")
            if way.via != before:
                self._waiting[destination] = before
        self._known = {destination: way.via for destination, way in found.items()}
        self._waiting = {destination: before for destination, before in self._waiting.items() if destination in found}
        behind = [near[destination] for destination in sorted(near.keys() - self._waiting.keys())]
        return [found[destination] for destination in sorted(self._waiting)], behind

    def told(self, led: Mapping[str, str]) -> bool:
        """The protocol leads to these, by these routers; whether any of them was waited for."""
        done = [each for each, before in self._waiting.items() if led.get(each, before) != before]
        for destination in done:
            del self._waiting[destination]
        return bool(done)
