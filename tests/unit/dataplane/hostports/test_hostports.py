"""Host ports: which packet goes to which pod, every element needed, made from anywhere on the nftables stand-in."""

import errno

import pytest

from clew.compile import links
from clew.dataplane.hostports import render, simulate
from clew.dataplane.hostports.apply import SETS, HostPortPlane
from clew.dataplane.hostports.explain import explain
from clew.dataplane.hostports.objects import FAMILY, TABLE, Place
from clew.dataplane.hostports.simulate import Verdict
from clew.facts.attachment import Attachment, PodRef, PortMapping, Transport
from clew.ir.links import HostPort
from clew.kernel.conntrack import FakeConntrack, Flow
from clew.kernel.errors import KernelError
from clew.kernel.nft import FakeNft, NftError
from clew.kernel.sysctl import FakeSysctl

ADDRESSES = ("10.244.1.5/24", "fd00:1::5/64")
WEB = PodRef("default", "web")
LOCALNET = "net.ipv4.conf.cbr0.route_localnet"


def attachment(name: str, *ports: PortMapping, addresses: tuple[str, ...] = ADDRESSES) -> Attachment:
    return Attachment(name, "eth0", "clew", f"/ns/{name}", addresses, 1500, WEB, ports)


def ports(*mappings: PortMapping) -> tuple[HostPort, ...]:
    return links.host_ports(attachment("c1", *mappings))


@pytest.mark.parametrize(
    ("host_ip", "reached", "not_reached"),
    [
        ("", ("172.30.0.11", "127.0.0.1", "fd00:172::11"), ()),
        ("0.0.0.0", ("172.30.0.11", "127.0.0.1"), ("fd00:172::11",)),
        ("::", ("fd00:172::11",), ("172.30.0.11", "::1")),
        ("127.0.0.1", ("127.0.0.1",), ("172.30.0.11", "fd00:172::11")),
        ("fd00:172::11", ("fd00:172::11",), ("fd00:172::12", "172.30.0.11")),
    ],
)
def test_where_a_port_is_taken(host_ip: str, reached: tuple[str, ...], not_reached: tuple[str, ...]) -> None:
    elements = render.every(ports(PortMapping(8080, 80, "TCP", host_ip)))
    for destination in reached:
        source, pod = ("2001:db8::1", "fd00:1::5") if ":" in destination else ("192.0.2.1", "10.244.1.5")
        assert simulate.packet(elements, source, destination, "TCP", 8080) == Verdict(pod, 80, masqueraded=False)
        assert simulate.packet(elements, source, destination, "UDP", 8080) is None
        assert simulate.packet(elements, source, destination, "TCP", 8081) is None
    for destination in not_reached:
        source = "2001:db8::1" if ":" in destination else "192.0.2.1"
        assert simulate.packet(elements, source, destination, "TCP", 8080) is None


def test_one_address_goes_before_all_of_them() -> None:
    one = attachment("c1", PortMapping(53, 53, "UDP", "172.30.0.11"))
    other = attachment("c2", PortMapping(53, 5353, "UDP"))
    elements = render.every([*links.host_ports(one), *links.host_ports(other)])
    found = simulate.packet(elements, "192.0.2.1", "172.30.0.11", "UDP", 53)
    assert found is not None
    assert found.port == 53


def test_whose_source_is_hidden() -> None:
    elements = render.every(ports(PortMapping(80, 80)))
    hidden = {
        source: found.masqueraded
        for source in ("192.0.2.1", "10.244.1.5", "10.244.1.6", "127.0.0.1", "172.30.0.11")
        if (found := simulate.packet(elements, source, "172.30.0.11", "TCP", 80)) is not None
    }
    assert hidden == {
        "192.0.2.1": False, "10.244.1.5": True, "10.244.1.6": False, "127.0.0.1": True, "172.30.0.11": False,
    }  # fmt: skip


def test_every_element_is_needed() -> None:
    elements = render.every(ports(PortMapping(80, 80), PortMapping(53, 53, "UDP", "172.30.0.11")))

    def answers(some: dict) -> list[Verdict | None]:  # type: ignore[type-arg]
        asked: list[tuple[str, str, Transport, int]] = [
            ("192.0.2.1", "172.30.0.11", "TCP", 80), ("10.244.1.5", "172.30.0.11", "TCP", 80),
            ("192.0.2.1", "172.30.0.11", "UDP", 53), ("fd00:1::5", "fd00:172::11", "TCP", 80),
        ]  # fmt: skip
        return [simulate.packet(some, *packet) for packet in asked]

    for key in elements:
        assert answers({other: value for other, value in elements.items() if other != key}) != answers(elements), key


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (PortMapping(80, 1), PortMapping(80, 2), True),
        (PortMapping(80, 1), PortMapping(81, 1), False),
        (PortMapping(80, 1), PortMapping(80, 1, "UDP"), False),
        (PortMapping(80, 1, "TCP", "10.0.0.1"), PortMapping(80, 1, "TCP", "10.0.0.2"), False),
        (PortMapping(80, 1, "TCP", "10.0.0.1"), PortMapping(80, 1), True),
        (PortMapping(80, 1, "TCP", "10.0.0.1"), PortMapping(80, 1, "TCP", "0.0.0.0"), True),
        (PortMapping(80, 1, "TCP", "10.0.0.1"), PortMapping(80, 1, "TCP", "::"), False),
        (PortMapping(80, 1, "TCP", "0.0.0.0"), PortMapping(80, 1, "TCP", "::"), False),
    ],
)
def test_who_is_in_whose_way(one: PortMapping, other: PortMapping, *, clash: bool) -> None:
    assert one.clashes(other) is clash
    assert other.clashes(one) is clash


PLACE = Place("cbr0", 147, ("10.96.0.0/12", "fd00:96::/112"))


class World:
    def __init__(self) -> None:
        self.nft, self.conntrack, self.settings = FakeNft(), FakeConntrack(), FakeSysctl()

    def plane(self, *wanted: Attachment) -> HostPortPlane:
        plane = HostPortPlane(self.nft, self.conntrack, self.settings, PLACE)
        plane.read()
        for each in wanted:
            plane.want(each.key, links.host_ports(each), "cbr0")
        return plane

    @property
    def listing(self) -> str | None:
        return self.nft.listing(FAMILY, TABLE)


def test_the_table_is_there_while_somebody_needs_it() -> None:
    world = World()
    plane = world.plane()
    plane.sync()
    assert world.nft.writes == [], "nobody has a host port"
    one = attachment("c1", PortMapping(80, 80))
    plane.want(one.key, links.host_ports(one), "cbr0")
    assert plane.pending
    plane.sync()
    assert not plane.pending
    assert world.settings.values[LOCALNET] == "1"
    assert world.listing == render.listing(PLACE), "a restarted agent knows it again"
    assert plane.problem(one.key) == ""
    plane.want(one.key, (), "")
    plane.sync()
    assert world.listing is None
    assert world.settings.values[LOCALNET] == "0"
    assert not plane.pending


def test_a_restart_writes_nothing() -> None:
    world = World()
    one = attachment("c1", PortMapping(80, 80), PortMapping(53, 53, "UDP", "172.30.0.11"))
    world.plane(one).sync()
    world.nft.writes.clear()
    again = world.plane(one)
    again.sync()
    assert world.nft.writes == []
    assert not again.pending


def test_what_a_former_agent_left_for_pods_that_are_gone_goes() -> None:
    world = World()
    one = attachment("c1", PortMapping(80, 80))
    two = attachment("c2", PortMapping(81, 80), addresses=("10.244.1.6/24",))
    world.plane(one, two).sync()
    plane = world.plane(two)
    plane.sync()
    assert plane.problem(two.key) == ""
    assert len(_elements(world.nft)) == 2


def _elements(nft: FakeNft) -> list[bytes]:
    return [key for target in SETS for key in nft.elements(target)]


@pytest.mark.parametrize("damage", ["delete table inet clew-hostports", "flush chain inet clew-hostports translate"])
def test_what_somebody_breaks_is_mended(damage: str) -> None:
    world = World()
    one = attachment("c1", PortMapping(80, 80))
    plane = world.plane(one)
    plane.sync()
    world.nft.run(damage)
    plane.read()
    assert plane.problem(one.key) == "the host port 80/TCP is missing or was changed"
    plane.sync()
    plane.read()
    assert plane.problem(one.key) == ""
    assert not plane.pending


def test_a_pod_takes_a_port_over() -> None:
    """The former pod is gone and its port's map entry names another pod, in one transaction."""
    world = World()
    plane = world.plane(attachment("c1", PortMapping(80, 80)))
    plane.sync()
    heir = attachment("c2", PortMapping(80, 8080), addresses=("10.244.1.6/24",))
    plane.want(("c1", "eth0"), (), "")
    plane.want(heir.key, links.host_ports(heir), "cbr0")
    world.nft.writes.clear()
    plane.sync()
    assert world.nft.writes == ["change"]
    assert plane.problem(heir.key) == ""


def test_udp_senders_find_the_new_pod() -> None:
    """What was sent before the pod was there, or to the one before it, has an entry that leads elsewhere."""
    world = World()
    stale = Flow(4, "UDP", "192.0.2.1", 4000, "172.30.0.11", 53, "172.30.0.11", 53)
    other = Flow(4, "UDP", "192.0.2.1", 4001, "172.30.0.11", 54, "172.30.0.11", 54)
    world.conntrack.table = [stale, other]
    world.plane(attachment("c1", PortMapping(53, 53, "UDP"))).sync()
    assert world.conntrack.deleted == [stale]


def test_a_refusal_keeps_the_difference() -> None:
    refusals = [NftError(errno.EBUSY, "run an nft script")]
    world = World()
    world.nft.fault = lambda _write: refusals.pop() if refusals else None
    plane = world.plane(attachment("c1", PortMapping(80, 80)))
    with pytest.raises(KernelError):
        plane.sync()
    assert plane.pending
    plane.sync()
    assert not plane.pending


def test_an_explanation_names_the_pod() -> None:
    four, _six = ports(PortMapping(8080, 80))
    assert explain(four) == (
        "port 8080 of this node/TCP is a hostPort of Pod default/web: it leads to 10.244.1.5:80"
        " (map any4 of table inet clew-hostports)"
    )
