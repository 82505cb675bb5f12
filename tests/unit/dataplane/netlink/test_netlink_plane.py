"""The netlink backend on a kernel in memory: it gets there from anywhere, past refusals, and leaves others alone."""

import errno
from itertools import permutations

import pytest
from msgspec.structs import replace

from clew.compile import links
from clew.dataplane.netlink import explain, render, simulate
from clew.dataplane.netlink.apply import NetlinkPlane
from clew.dataplane.netlink.objects import BEHIND, LEAVING_GROUP, LINK_GROUP, ROUTE_PROTO, NodeRoute, Port, Setting
from clew.facts.attachment import Attachment, PodRef
from clew.ir.links import Switch
from clew.ir.routes import PodRoute
from clew.kernel.errors import KernelError
from clew.kernel.inside import FakeInside
from clew.kernel.netlink import Add, Address, Bridge, Delete, Link, Request, Route, SetLink
from clew.kernel.netlink.fake import FakeNetlink
from clew.kernel.sysctl import FakeSysctl

BRIDGE = render.bridge(Switch(("10.244.1.1/24", "fd00:1::1/64"), 1450, "Node one"))
ROUTES = [NodeRoute("10.244.2.0/24", "172.30.0.12"), NodeRoute("fd00:2::/64", "fd00:172::12")]


def port(number: int) -> Port:
    addresses = (f"10.244.1.{number}/24", f"fd00:1::{number:x}/64")
    pod = PodRef("default", f"web{number}")
    return render.port(links.port(Attachment(f"c{number}", "eth0", "clew", f"/ns/{number}", addresses, 1450, pod)))


class World:
    """A node in memory with an uplink, and pods' namespaces as descriptors 1 to 9."""

    def __init__(self, settings: FakeSysctl | None = None) -> None:
        self.pods = {number: FakeNetlink() for number in range(1, 10)}
        self.kernel = FakeNetlink(self.pods)
        self.settings = settings or FakeSysctl()
        self.inside = FakeInside(self.pods)
        self.kernel.request(
            [
                Add(Link("eth0", up=True)),
                Add(Address("172.30.0.11/24", "eth0")),
                Add(Address("fd00:172::11/64", "eth0")),
            ]
        )

    def plane(self) -> NetlinkPlane:
        return NetlinkPlane(self.kernel, self.settings, self.inside)

    def ours(self) -> dict[str, str]:
        return {link.name: link.alias for link in self.kernel.links() if link.group == LINK_GROUP}


@pytest.fixture
def world() -> World:
    return World()


def attach(plane: NetlinkPlane, *numbers: int) -> None:
    for number in numbers:
        plane.want_port(port(number))
        plane.lend_namespace(port(number).link.name, number)


def test_from_nothing_to_all(world: World) -> None:
    plane = world.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    plane.want_routes(ROUTES)
    attach(plane, 2, 3)
    world.inside.settings[2] = FakeSysctl()
    world.inside.settings[2].values["net.ipv6.conf.eth0.accept_dad"] = "1"
    assert plane.sync().failures == {}
    assert not plane.pending
    bridge = world.kernel.link("cbr0")
    assert bridge is not None
    assert (bridge.mac, bridge.mtu, bridge.up) == ("0a:58:0a:f4:01:01", 1450, True)
    assert set(world.ours().values()) == {"c2/eth0", "c3/eth0"}
    eth0 = world.pods[2].link("eth0")
    assert eth0 is not None
    assert (eth0.mac, eth0.mtu, eth0.up) == ("0a:58:0a:f4:01:02", 1450, True)
    assert {a.address for a in world.pods[2].addresses()} == {"10.244.1.2/24", "fd00:1::2/64"}
    assert all(a.nodad for a in world.pods[2].addresses() if ":" in a.address)
    gateways = {route.via for route in world.pods[2].routes() if route.destination in {"0.0.0.0/0", "::/0"}}
    assert gateways == {"10.244.1.1", "fd00:1::1"}
    assert {route.destination for route in world.kernel.routes(proto=ROUTE_PROTO)} == {r.destination for r in ROUTES}
    assert world.settings.values["net.ipv4.ip_forward"] == "1"
    assert world.settings.values["net.ipv6.conf.all.forwarding"] == "1"
    assert world.inside.settings[2].read("net.ipv6.conf.eth0.accept_dad") == "0"


STATES: list[tuple[set[int], list[NodeRoute]]] = [
    (set(), []),
    ({2}, ROUTES),
    ({2, 3, 4}, ROUTES[:1]),
    ({4}, [NodeRoute("10.244.2.0/24", "172.30.0.99"), ROUTES[1]]),
]


@pytest.mark.parametrize("path", list(permutations(range(len(STATES)), 3)), ids=str)
@pytest.mark.parametrize("restart", [False, True])
def test_every_path_leads_to_the_same_kernel(path: tuple[int, ...], *, restart: bool) -> None:
    world = World()
    plane = world.plane()
    have: set[int] = set()
    for state in path:
        pods, routes = STATES[state]
        if restart:
            plane = world.plane()
            for number in have:
                plane.want_port(port(number))
        plane.want_bridge(BRIDGE, (4, 6))
        plane.want_routes(routes)
        for number in have - pods:
            plane.drop_port(port(number).link.name)
        attach(plane, *(pods - have))
        if restart:
            plane.read()
        have = pods
        assert plane.sync().failures == {}
    assert set(world.ours().values()) == {f"c{number}/eth0" for number in have}
    assert {(r.destination, r.via) for r in world.kernel.routes(proto=ROUTE_PROTO)} == {
        (r.destination, r.via) for r in routes
    }
    for number, pod in world.pods.items():
        assert (pod.link("eth0") is not None) == (number in have)


def test_adopting_changes_nothing(world: World) -> None:
    plane = world.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    plane.want_routes(ROUTES)
    attach(plane, 2, 3)
    plane.sync()
    again = world.plane()
    again.want_bridge(BRIDGE, (4, 6))
    again.want_routes(ROUTES)
    again.want_port(port(2))
    again.want_port(port(3))
    again.read()

    def nothing(request: Request) -> int:
        raise AssertionError(str(request))

    world.kernel.refuse = nothing
    assert not again.pending
    assert again.sync().failures == {}
    assert again.lost == frozenset()


def test_others_things_are_left_alone(world: World) -> None:
    world.kernel.request(
        [
            Add(Link("foreign", Bridge(), group=7)),
            Add(Route("10.99.0.0/16", via="172.30.0.1", proto=4)),
            Add(Route("10.244.2.0/24", via="172.30.0.200", proto=4)),
        ]
    )
    plane = world.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    plane.want_routes(ROUTES)
    plane.read()
    outcome = plane.sync()
    assert list(outcome.failures) == ["10.244.2.0/24"]
    assert "not Clew's" in str(outcome.failures["10.244.2.0/24"])
    assert world.kernel.link("foreign") is not None
    assert {(r.destination, r.via) for r in world.kernel.routes(proto=4)} == {
        ("10.99.0.0/16", "172.30.0.1"), ("10.244.2.0/24", "172.30.0.200"),
    }  # fmt: skip
    world.kernel.request([Delete(Route("10.244.2.0/24", proto=4))])
    assert plane.sync().failures == {}


def test_a_route_stands_before_a_protocols_or_behind_and_never_in_between_both(world: World) -> None:
    """Each time the new one is there before the other goes; who reads it back takes it for what it is."""
    before, behind = ROUTES[0], replace(ROUTES[0], behind=True)
    plane = world.plane()
    for route, metric in ((before, 0), (behind, BEHIND), (before, 0)):
        plane.want_routes([route])
        assert plane.sync().failures == {}
        assert [(each.via, each.metric) for each in world.kernel.routes(proto=ROUTE_PROTO)] == [(route.via, metric)]
        again = world.plane()
        again.want_routes([route])
        again.read()
        assert not again.routes


def test_a_node_that_is_no_neighbour(world: World) -> None:
    plane = world.plane()
    plane.want_routes([NodeRoute("10.244.7.0/24", "192.0.2.7"), ROUTES[0]])
    outcome = plane.sync()
    assert "not on a network of this node" in str(outcome.failures["10.244.7.0/24"])
    assert [route.destination for route in world.kernel.routes(proto=ROUTE_PROTO)] == ["10.244.2.0/24"]


@pytest.mark.parametrize("step", range(3))
def test_a_refusal_in_the_middle_leaves_nothing_of_the_port(world: World, step: int) -> None:
    plane = world.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    plane.sync()
    seen = 0

    def busy(_request: Request) -> int:
        nonlocal seen
        seen += 1
        return errno.EBUSY if seen == step + 1 else 0

    target = (world.kernel, world.pods[2], world.pods[2])[step]
    target.refuse = busy
    attach(plane, 2)
    outcome = plane.sync()
    assert [refusal.name for refusal in outcome.failures.values()] == ["EBUSY"]
    assert world.ours() == {}
    assert world.pods[2].link("eth0") is None
    assert plane.sync().failures == {}, "the difference was kept, and the next run makes it good"
    assert set(world.ours().values()) == {"c2/eth0"}


def test_an_interface_in_the_way(world: World) -> None:
    world.pods[2].request([Add(Link("eth0", Bridge()))])
    plane = world.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    attach(plane, 2)
    (refusal,) = plane.sync().failures.values()
    assert "eth0" in str(refusal)
    assert "is there already" in str(refusal)


def test_a_changed_port_is_put_right_and_a_half_made_one_goes(world: World) -> None:
    plane = world.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    attach(plane, 2, 3)
    plane.sync()
    plane.lend_namespace(port(2).link.name, None)
    plane.lend_namespace(port(3).link.name, None)
    world.kernel.request([SetLink(port(2).link.name, master="", mtu=1000), SetLink(port(3).link.name, alias="")])
    plane.read()
    assert plane.whole() == {port(2).link.name}
    assert plane.sync().failures == {}
    repaired = world.kernel.link(port(2).link.name)
    assert repaired is not None
    assert (repaired.master, repaired.mtu) == ("cbr0", 1450)
    assert world.kernel.link(port(3).link.name) is None
    assert plane.lost == {port(3).link.name}


def test_a_pods_link_that_was_taken_down_comes_up_again(world: World) -> None:
    """It was held for half made and removed: `ip link set vethX down` ended a pod's network for good."""
    plane = world.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    attach(plane, 2)
    plane.sync()
    plane.lend_namespace(port(2).link.name, None)
    world.kernel.request([SetLink(port(2).link.name, up=False)])
    plane.read()
    assert plane.whole() == {port(2).link.name}
    assert plane.sync().failures == {}
    repaired = world.kernel.link(port(2).link.name)
    assert repaired is not None
    assert repaired.up
    assert plane.lost == frozenset()


def test_what_forwarding_needs_is_put_back(world: World) -> None:
    """Settings were written once; and without the bridge's link-local address no neighbour of IPv6 is asked for."""
    plane = world.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    plane.sync()
    assert "fe80::858:aff:fef4:101/64" in {each.address for each in world.kernel.addresses() if each.dev == "cbr0"}
    plane.read()
    assert not plane.pending
    for change in (
        lambda: world.settings.write({"net.ipv4.ip_forward": 0}),
        lambda: world.settings.write({"net.bridge.bridge-nf-call-ip6tables": 0}),
        lambda: world.kernel.request([Delete(Address("fe80::858:aff:fef4:101/64", "cbr0"))]),
    ):
        change()
        plane.read()
        assert plane.pending
        assert plane.sync().failures == {}
        plane.read()
        assert not plane.pending


def test_what_was_leaving_when_the_agent_died_goes(world: World) -> None:
    plane = world.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    attach(plane, 2)
    plane.sync()
    world.kernel.request([SetLink(port(2).link.name, group=LEAVING_GROUP)])
    again = world.plane()
    again.read()
    again.sync()
    assert world.kernel.link(port(2).link.name) is None


def test_settings_that_this_kernel_lacks_or_refuses() -> None:
    lacking = World(FakeSysctl(absent=("net.bridge",)))
    plane = lacking.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    outcome = plane.sync()
    assert outcome.failures == {}
    assert outcome.missing == ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
    frozen = World(FakeSysctl(frozen=("net.ipv4.ip_forward",)))
    plane = frozen.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    assert "net.ipv4.ip_forward" in str(plane.sync().failures["cbr0"])


def test_a_bridge_of_another_kind_is_refused(world: World) -> None:
    world.kernel.request([Add(Link("cbr0"))])
    plane = world.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    assert "another kind" in str(plane.sync().failures["cbr0"])


def test_check_names_what_is_wrong(world: World) -> None:
    plane = world.plane()
    plane.want_bridge(BRIDGE, (4, 6))
    attach(plane, 2)
    plane.sync()
    name = port(2).link.name
    assert plane.check(name, 2) == ""
    world.pods[2].request([Delete(Route("0.0.0.0/0", via="10.244.1.1", proto=0))])
    assert "default route by 10.244.1.1" in plane.check(name, 2)
    world.pods[2].request([Delete(Address("10.244.1.2/24", "eth0"))])
    assert "lost its address 10.244.1.2/24" in plane.check(name, 2)
    assert plane.check("veth0000000000", 2) == "it is not attached"


def test_rendering_is_by_rule() -> None:
    one = port(2)
    assert one == port(2)
    assert len(one.link.name) == 14
    assert one.link.name != render.host_name("c2", "eth1")
    assert render.mac_of(("10.244.1.2/24",)) == "0a:58:0a:f4:01:02"
    assert render.mac_of(("fd00::a:b/64",)) == "0a:58:00:0a:00:0b"
    assert render.settings(frozenset({4}))[0] == Setting("net.ipv4.ip_forward", "1", needed=True)
    assert render.pod_settings("eth0", frozenset({4})) == ()


def test_the_simulated_way_and_its_reason() -> None:
    ports, routes = [port(2), port(3)], [render.route(PodRoute("10.244.2.0/24", "172.30.0.12", "Node two"))]
    way = simulate.forward(BRIDGE, ports, routes, "10.244.1.3")
    assert way.port == port(3)
    assert simulate.forward(BRIDGE, ports, routes, "10.244.1.77").kind == "nobody"
    assert simulate.forward(BRIDGE, ports, routes, "10.244.2.9").via == "172.30.0.12"
    assert simulate.forward(BRIDGE, ports, routes, "192.0.2.1").kind == "elsewhere"
    assert "Pod default/web2" in explain.explain_port(port(2))
    assert "Node two" in explain.explain_route(routes[0], "Node two")
    assert "10.244.1.1/24" in explain.explain_bridge(BRIDGE)


def test_every_rendered_object_counts() -> None:
    """Without any one of them the simulated ways differ: nothing is rendered for show."""
    ports, routes = [port(2), port(3)], ROUTES
    targets = ["10.244.1.2", "10.244.1.3", "fd00:1::3", "10.244.2.9", "fd00:2::9"]

    def table(some_ports: list[Port], some_routes: list[NodeRoute]) -> list[simulate.Way]:
        return [simulate.forward(BRIDGE, some_ports, some_routes, target) for target in targets]

    whole = table(ports, routes)
    assert all(table([p for p in ports if p != gone], routes) != whole for gone in ports)
    assert all(table(ports, [r for r in routes if r != gone]) != whole for gone in routes)


def test_errors_are_told_by_their_symbol() -> None:
    assert str(KernelError(errno.EBUSY, "do it")) == "do it: EBUSY: Device or resource busy"
