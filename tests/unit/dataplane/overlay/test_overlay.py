"""The overlay on a kernel in memory: rendered by rule, each part needed, made from anywhere, others left alone."""

import base64
import errno
from collections.abc import Collection
from ipaddress import IPv6Address
from weakref import WeakKeyDictionary

import pytest
from msgspec.structs import replace

from clew.base.addresses import family_of
from clew.dataplane.overlay import explain, simulate
from clew.dataplane.overlay.apply import OverlayPlane
from clew.dataplane.overlay.esp import EspEnds
from clew.dataplane.overlay.objects import Overlay
from clew.dataplane.overlay.render import device, gateway, mac_of, overlay
from clew.dataplane.overlay.secure import SecureEnds
from clew.dataplane.overlay.simulate import Outer
from clew.ir.routes import Association, Tunnel, TunnelEnd
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Add, Address, Delete, Fdb, Link, Neighbour, Plain, Request, Rule, SetLink, XfrmInterface
from clew.kernel.netlink.fake import FakeNetlink
from clew.kernel.wireguard import FakeWireGuard, Peer
from clew.kernel.wireguard.fake import public_of
from clew.kernel.xfrm import FakeXfrm, State, Template

FOUR = Tunnel(
    "vxlan", ("172.30.0.11",), (TunnelEnd(("172.30.0.12",)), TunnelEnd(("172.30.0.13",))), ("10.244.1.0/24",),
    1450, 1, 8472, "Node one",
)  # fmt: skip
SIX = Tunnel(
    "vxlan", ("fd00:172::11",), (TunnelEnd(("fd00:172::12",)),), ("fd00:244:1::/64",), 1430, 1, 8472, "Node one"
)
IPIP = Tunnel("ipip", ("172.30.0.11",), (TunnelEnd(("172.30.0.12",)),), ("10.244.1.0/24",), 1480, 1, 0, "Node one")
PRIVATE = base64.b64encode(bytes(range(32))).decode()
KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in (2, 3)]
SECURE = Tunnel(
    "wireguard", ("172.30.0.11", "fd00:172::11"),
    (
        TunnelEnd(("172.30.0.12", "fd00:172::12"), KEYS[0], ("10.244.2.0/24", "fd00:244:2::/64")),
        TunnelEnd(("172.30.0.13",), KEYS[1], ("10.244.3.0/24",)),
    ),
    ("10.244.1.0/24", "fd00:244:1::/64"), 1420, 0, 51820, "Node one", public_of(PRIVATE),
)  # fmt: skip
WIREGUARDS: WeakKeyDictionary[FakeNetlink, FakeWireGuard] = WeakKeyDictionary()
XFRMS: WeakKeyDictionary[FakeNetlink, FakeXfrm] = WeakKeyDictionary()
PODS = {4: "10.244.1.7", 6: "fd00:244:1::7"}
ESP = Tunnel(
    "ipsec", ("172.30.0.11", "fd00:172::11"),
    (
        TunnelEnd(
            ("172.30.0.12", "fd00:172::12"), pods=("10.244.2.0/24", "fd00:244:2::/64"), remote="172.30.0.12",
            outbound=(Association("172.30.0.11", "172.30.0.12", 0x1001, "3:a", "there"),),
            inbound=(Association("172.30.0.12", "172.30.0.11", 0x1002, "3:a", "here"),),
        ),
    ),
    ("10.244.1.0/24", "fd00:244:1::/64"), 1446, 0, 0, "Node one",
)  # fmt: skip


class Book:
    """Keeps keys of nothing, and has seen no state before."""

    def key(self, token: str, purpose: str) -> bytes:
        return (token + purpose).encode().ljust(20)

    def enter(self, spis: Collection[int]) -> frozenset[int]:
        return frozenset(spis)

    def strike(self, spis: Collection[int]) -> None:
        raise AssertionError(spis)

    def renew(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest.fixture
def kernel() -> FakeNetlink:
    kernel = FakeNetlink()
    kernel.request([Add(Link("eth0", up=True)), Add(Address("172.30.0.11/24", "eth0"))])
    return kernel


def bare(kernel: FakeNetlink) -> OverlayPlane:
    """A plane that knows neither kernel nor wishes; WireGuard's part of the kernel is one with the links."""
    wireguard = WIREGUARDS.setdefault(kernel, FakeWireGuard(kernel))
    return OverlayPlane(
        kernel,
        SecureEnds(wireguard, lambda: PRIVATE),
        EspEnds(XFRMS.setdefault(kernel, FakeXfrm()), Book(), lambda: 0.0),
    )


def run(plane: OverlayPlane) -> dict[str, int]:
    failures = {**plane.make(), **plane.sweep()}
    return {name: refusal.number for name, refusal in failures.items()}


def wanted(kernel: FakeNetlink, *tunnels: Tunnel) -> OverlayPlane:
    plane = bare(kernel)
    plane.read()
    plane.want(overlay(tunnels))
    return plane


def test_a_mac_is_locally_administered_unicast_and_one_node_s_own() -> None:
    macs = {mac_of(f"172.30.{high}.{low}") for high in range(8) for low in range(256)}
    assert len(macs) == 8 * 256
    assert {int(mac[:2], 16) & 3 for mac in macs} == {2}


def test_the_gateway_of_an_ipv6_end_is_the_link_local_address_that_its_mac_makes() -> None:
    """The kernel gives a link the EUI-64 address of its MAC; the far end must be named by exactly this."""
    octets = bytes(int(part, 16) for part in mac_of("fd00:172::12").split(":"))
    found = IPv6Address(gateway("vxlan", "fd00:172::12"))
    assert found.is_link_local
    assert found.packed[8:] == bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]


@pytest.mark.parametrize(
    "tunnel", [FOUR, SIX, IPIP, SECURE, ESP], ids=["vxlan", "vxlan6", "ipip", "wireguard", "ipsec"]
)
def test_a_pod_reaches_each_other_end_through_the_tunnel(tunnel: Tunnel) -> None:
    rendered = overlay([tunnel])
    for peer in tunnel.peers:
        for address in peer.addresses:
            family = family_of(address)
            expected = Outer(device(tunnel.encapsulation, family), peer.addresses[0])
            assert simulate.to_node(rendered, PODS[family], address) == expected
            own = next(each for each in tunnel.addresses if family_of(each) == family)
            assert simulate.to_node(rendered, own, address) is None, "the node itself needs no tunnel to a node"


@pytest.mark.parametrize(
    "tunnel", [FOUR, SIX, IPIP, SECURE, ESP], ids=["vxlan", "vxlan6", "ipip", "wireguard", "ipsec"]
)
def test_nothing_of_it_can_be_left_out(tunnel: Tunnel) -> None:
    """Each object carries some packet: without it one goes another way, or nowhere."""
    whole = overlay([tunnel])
    addresses = [address for peer in tunnel.peers for address in peer.addresses]

    def answers(some: Overlay) -> list[Outer | bool | None]:
        shut = [simulate.refused(some, pods.partition("/")[0]) for peer in tunnel.peers for pods in peer.pods]
        return [*(simulate.to_node(some, PODS[family_of(address)], address) for address in addresses), *shut]

    for field in Overlay.__struct_fields__:
        objects = getattr(whole, field)
        for place in range(len(objects)):
            without = replace(whole, **{field: objects[:place] + objects[place + 1 :]})
            assert answers(without) != answers(whole), (field, objects[place])


def test_why_each_object_is_there() -> None:
    rendered = overlay([FOUR])
    assert "VNI 1, UDP port 8472" in explain.explain_link(rendered.links[0])
    assert "172.30.0.12" in explain.explain_peer(rendered.peers[0])
    assert "172.30.0.12/32" in explain.explain_route(rendered.routes[0])
    assert "10.244.1.0/24" in explain.explain_rule(rendered.rules[0])
    assert "10.244.2.0/24 is refused" in explain.explain_shut(overlay([SECURE]).shut[0])
    assert "IP in IP" in explain.explain_link(overlay([IPIP]).links[0])
    assert "10.244.3.0/24, 172.30.0.13/32 and sends it to 172.30.0.13:51820" in explain.explain_secure(
        overlay([SECURE]).secure[1]
    )
    esp = overlay([ESP])
    assert "ESP, states and policies of if_id 147" in explain.explain_link(esp.links[0])
    assert "to 172.30.0.12 under SPI 0x00001001; from there it takes SPI 0x00001002" in explain.explain_esp(esp.esp[0])


def test_from_nothing_to_all_and_back(kernel: FakeNetlink) -> None:
    plane = wanted(kernel, FOUR, SIX)
    assert run(plane) == {}
    assert not plane.pending
    link = kernel.link("vxlan.clew")
    assert link is not None
    assert (link.up, link.mtu, link.mac) == (True, 1450, mac_of("172.30.0.11"))
    assert {each.address for each in kernel.addresses() if each.dev == "vxlan.clew"} == {"172.30.0.11/32"}
    assert {(each.address, each.mac) for each in kernel.neighbours() if each.dev == "vxlan.clew"} == {
        (ip, mac_of(ip)) for ip in ("172.30.0.12", "172.30.0.13")
    }
    assert {each.remote for each in kernel.fdb()} == {"172.30.0.12", "172.30.0.13", "fd00:172::12"}
    assert {rule.source for rule in kernel.rules() if rule.proto == 147} == {"10.244.1.0/24", "fd00:244:1::/64"}
    plane.want(Overlay())
    assert run(plane) == {}
    assert {each.name for each in kernel.links()} == {"lo", "eth0"}
    assert kernel.fdb() == []
    assert kernel.neighbours() == []
    assert [rule for rule in kernel.rules() if rule.proto == 147] == []


def test_a_restart_asks_the_kernel_for_nothing(kernel: FakeNetlink) -> None:
    assert run(wanted(kernel, FOUR, SIX)) == {}
    asked: list[Request] = []

    def note(request: Request) -> int:
        asked.append(request)
        return 0

    kernel.refuse = note
    again = wanted(kernel, FOUR, SIX)
    assert not again.pending
    assert run(again) == {}
    assert asked == []


def test_nothing_is_touched_before_the_nodes_are_known(kernel: FakeNetlink) -> None:
    assert run(wanted(kernel, FOUR)) == {}
    plane = bare(kernel)
    plane.read()
    assert not plane.pending
    assert run(plane) == {}
    assert kernel.link("vxlan.clew") is not None


@pytest.mark.parametrize(
    "change",
    [
        {"addresses": ("172.30.0.99",)},
        {"vni": 9},
        {"port": 4789},
        {"mtu": 1400},
        {"peers": (TunnelEnd(("172.30.0.12",)),)},
        {"sources": ("10.244.9.0/24",)},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("tunnel", [FOUR, SECURE, ESP], ids=["vxlan", "wireguard", "ipsec"])
def test_whatever_changes_is_followed(kernel: FakeNetlink, tunnel: Tunnel, change: dict[str, object]) -> None:
    plane = wanted(kernel, tunnel)
    assert run(plane) == {}
    new = replace(tunnel, **change)
    plane.want(overlay([new]))
    assert run(plane) == {}
    assert not wanted(kernel, new).pending, "read back, it is as wanted"


@pytest.mark.parametrize(
    "damage",
    [
        Delete(Link("vxlan.clew")),
        SetLink("vxlan.clew", up=False),
        SetLink("vxlan.clew", mtu=1300),
        SetLink("vxlan.clew", mac="02:00:00:00:00:99"),
        Add(Address("192.0.2.1/32", "vxlan.clew")),
        Delete(Address("172.30.0.11/32", "vxlan.clew")),
        Delete(Neighbour("172.30.0.12", "vxlan.clew", mac_of("172.30.0.12"))),
        Delete(Fdb(mac_of("172.30.0.12"), "vxlan.clew", "172.30.0.12")),
        Delete(Rule(30147, family=4, source="10.244.1.0/24", table=147, proto=147)),
        Add(Neighbour("172.30.0.77", "vxlan.clew", mac_of("172.30.0.77"))),
    ],
    ids=["gone", "down", "mtu", "mac", "another address", "no address", "neighbour", "entry", "rule", "stranger"],
)
def test_what_somebody_breaks_is_mended(kernel: FakeNetlink, damage: Request) -> None:
    plane = wanted(kernel, FOUR)
    assert run(plane) == {}
    kernel.request([damage])
    plane.read()
    assert plane.pending
    assert run(plane) == {}
    assert not wanted(kernel, FOUR).pending


def test_encrypted_ends_are_made_changed_and_mended(kernel: FakeNetlink) -> None:
    plane = wanted(kernel, SECURE)
    assert run(plane) == {}
    assert not plane.pending
    wireguard = WIREGUARDS[kernel]
    found = wireguard.device("wg.clew")
    assert (found.public_key, found.port) == (public_of(PRIVATE), 51820)
    assert found.peers == (
        Peer(KEYS[0], "172.30.0.12:51820", ("10.244.2.0/24", "172.30.0.12/32", "fd00:172::12/128", "fd00:244:2::/64")),
        Peer(KEYS[1], "172.30.0.13:51820", ("10.244.3.0/24", "172.30.0.13/32")),
    )
    link = kernel.link("wg.clew")
    assert link is not None
    assert (link.up, link.mtu) == (True, 1420)
    moved = replace(SECURE.peers[1], key=KEYS[0])  # a node takes over what another one had, and its key changes
    plane.want(overlay([replace(SECURE, peers=(moved,))]))
    assert run(plane) == {}
    assert wireguard.device("wg.clew").peers == (
        Peer(KEYS[0], "172.30.0.13:51820", ("10.244.3.0/24", "172.30.0.13/32")),
    )
    wireguard.set_up("wg.clew", base64.b64encode(bytes(32)).decode(), 9)
    wireguard.remove("wg.clew", KEYS)
    plane.read()
    assert plane.pending
    assert run(plane) == {}
    assert not wanted(kernel, replace(SECURE, peers=(moved,))).pending
    plane.want(Overlay())
    assert run(plane) == {}
    assert kernel.link("wg.clew") is None


def test_states_and_policies_of_ipsec_are_made_and_taken_away(kernel: FakeNetlink) -> None:
    plane = wanted(kernel, ESP)
    assert run(plane) == {}
    assert not wanted(kernel, ESP).pending
    link, xfrm = kernel.link("ipsec.clew"), XFRMS[kernel]
    assert link is not None
    assert (link.detail, link.up, link.mtu) == (XfrmInterface(147), True, 1446)
    here, there = "172.30.0.11", "172.30.0.12"
    assert set(xfrm.keys) == {State(here, there, 0x1001, 147, 147), State(there, here, 0x1002, 147, 147)}
    ways = {(each.direction, each.source, each.target): each.needs for each in xfrm.policies()}
    needs = Template(147, here, there, 0x1001)
    sent = {("out", "::/0" if ":" in to else "0.0.0.0/0", to): needs for to in overlay([ESP]).esp[0].allowed}
    taken = {(way, each, each): Template(147) for way in ("in", "fwd") for each in ("0.0.0.0/0", "::/0")}
    clear = {
        (way, pods, "::/0" if ":" in pods else "0.0.0.0/0"): None for way in ("in", "fwd") for pods in ESP.peers[0].pods
    }
    assert ways == {**sent, **taken, **clear}
    plane.want(Overlay())
    assert run(plane) == {}
    assert kernel.link("ipsec.clew") is None
    assert (xfrm.keys, xfrm.policies()) == ({}, [])


@pytest.mark.parametrize(("tunnel", "device"), [(SECURE, "wg.clew"), (ESP, "ipsec.clew")], ids=["wireguard", "ipsec"])
def test_without_its_device_nothing_is_led_elsewhere_in_the_clear(
    kernel: FakeNetlink, tunnel: Tunnel, device: str
) -> None:
    """The kernel takes the routes of a link that goes, and the default route would lead on."""
    plane = wanted(kernel, tunnel)
    assert run(plane) == {}
    kernel.request([Delete(Link(device))])
    pods = {prefix for peer in tunnel.peers for prefix in peer.pods}
    left = {route.destination: route.kind for route in kernel.routes(proto=148)}
    assert left == dict.fromkeys(pods, "unreachable")
    plane.read()
    plane.want(Overlay())
    assert run(plane) == {}
    assert kernel.routes(proto=148) == []


def test_an_address_that_is_lent_goes_its_own_way_and_is_not_guarded_against(kernel: FakeNetlink) -> None:
    """Blocks lend addresses: a policy for the block must hit neither the borrower's packets nor our own pods'."""
    peer = replace(ESP.peers[0], pods=("10.244.2.0/26", "10.244.7.65/32", "10.244.9.0/26"))
    plane = wanted(kernel, replace(ESP, peers=(peer,), sources=("10.244.1.0/26", "10.244.9.3/32")))
    assert run(plane) == {}
    policies = XFRMS[kernel].policies()
    blocked = {each.source for each in policies if each.needs is None}
    assert blocked == {"10.244.2.0/26", "10.244.7.65/32"}
    first = {each.target: each.priority for each in policies if each.direction == "out"}
    assert first["10.244.7.65/32"] < first["10.244.2.0/26"]


@pytest.mark.parametrize("refused", [errno.EOPNOTSUPP, errno.EPERM])
def test_a_kernel_without_xfrm_matters_to_nobody_who_does_not_want_it(kernel: FakeNetlink, refused: int) -> None:
    def states() -> dict[State, int]:
        raise KernelError(refused, "read XFRM states")

    plane = wanted(kernel, FOUR)
    XFRMS[kernel].states = states  # type: ignore[method-assign]
    if refused == errno.EOPNOTSUPP:
        plane.read()
    else:
        with pytest.raises(KernelError):
            plane.read()
    plane.want(overlay([ESP]))
    with pytest.raises(KernelError):
        plane.read()


def test_a_link_of_another_kind_under_our_name_goes(kernel: FakeNetlink) -> None:
    kernel.request([Add(Link("wg.clew", Plain("dummy"), up=True))])
    plane = wanted(kernel, SECURE)
    assert run(plane) == {}
    link = kernel.link("wg.clew")
    assert link is not None
    assert link.detail == Plain("wireguard")


def test_what_is_not_ours_stays(kernel: FakeNetlink) -> None:
    kernel.request(
        [
            Add(Link("flannel.1", up=True)),
            Add(Neighbour("10.1.1.1", "eth0", "02:00:00:00:00:07")),
            Add(Rule(30147, family=4, source="10.9.0.0/16", table=9, proto=4)),
        ]
    )
    plane = wanted(kernel, FOUR)
    assert run(plane) == {}
    plane.want(Overlay())
    assert run(plane) == {}
    assert kernel.link("flannel.1") is not None
    assert [each.address for each in kernel.neighbours()] == ["10.1.1.1"]
    assert [rule.source for rule in kernel.rules() if rule.table == 9] == ["10.9.0.0/16"]


@pytest.mark.parametrize(
    ("tunnel", "name", "words"),
    [
        (IPIP, "tunl0", "this kernel has no ipip (CONFIG_NET_IPIP, module ipip)"),
        (SECURE, "wg.clew", "this kernel has no wireguard (CONFIG_WIREGUARD, module wireguard)"),
        (ESP, "ipsec.clew", "this kernel has no ipsec (CONFIG_XFRM_INTERFACE, module xfrm_interface)"),
    ],
)
def test_what_a_kernel_lacks_is_told_by_name(kernel: FakeNetlink, tunnel: Tunnel, name: str, words: str) -> None:
    refusing = {name}
    kernel.refuse = lambda request: (
        errno.EOPNOTSUPP
        if isinstance(request, Add) and isinstance(request.thing, Link) and request.thing.name in refusing
        else 0
    )
    plane = wanted(kernel, tunnel)
    failures = plane.make()
    assert words in str(failures[name])
    assert plane.pending
    refusing.clear()
    assert run(plane) == {}
    assert not plane.pending


def test_the_kernel_s_own_tunl0_is_taken_into_use_and_left_as_it_was(kernel: FakeNetlink) -> None:
    """The module makes it in every namespace; there it is neither ours to make nor to delete."""
    kernel.request([Add(Link("tunl0", Plain("ipip"), mtu=1480))])
    kernel.refuse = lambda request: (
        errno.EOPNOTSUPP if isinstance(request, Delete) and request.thing == Link("tunl0") else 0
    )
    plane = wanted(kernel, IPIP)
    assert run(plane) == {}
    link = kernel.link("tunl0")
    assert link is not None
    assert link.up
    plane.want(Overlay())
    assert run(plane) == {}
    link = kernel.link("tunl0")
    assert link is not None
    assert not link.up
    assert [each for each in kernel.addresses() if each.dev == "tunl0"] == []
