"""The backend on the fake: every path between states, with and without refusals, ends in the same maps."""

import asyncio
import errno
import random
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import permutations
from typing import Self

import pytest
from tests.unit.dataplane.balancers import STATES, Wanted, balancer, changes

from clew.dataplane.ebpf import layout, rules
from clew.dataplane.ebpf.apply import Backend
from clew.dataplane.ebpf.explain import Explainer, Row
from clew.dataplane.ebpf.layout import ENDPOINTS, FRONTENDS, MEMBERS, NODES, RANGES, WRITTEN
from clew.dataplane.ebpf.objects import TABLE, Device, State, Surface
from clew.ir.proxying import Settings
from clew.kernel.bpf import FakeMap, MapSpec
from clew.kernel.errors import KernelError
from clew.kernel.netlink.monitor import Event, Overrun
from clew.kernel.nft import FakeNft

SETTINGS = Settings(4, ("10.244.0.0/16",), node_addresses=("172.30.0.11",))
SIZES = {
    FRONTENDS: (20, 24), ENDPOINTS: (8, 20), MEMBERS: (24, 4), "names": (4, 208), RANGES: (40, 4), "pods": (20, 4),
    "addresses": (16, 4), "links": (4, 4), NODES: (4, 32), "cluster_ips": (16, 4),
}  # fmt: skip
SURFACE = Surface((Device(1, "lo", "lo", guarded=False), Device(2, "eth0", "eth0")), ("127.0.0.1", "172.30.0.11"), 7)

Fault = Callable[[str], KernelError | None]


class ShakyMap(FakeMap):
    """A map whose kernel refuses now and then, and that writes down the order of what it took."""

    def __init__(self, spec: MapSpec, fault: Fault, journal: list[tuple[str, str, bytes]]) -> None:
        super().__init__(spec)
        self._fault, self._journal = fault, journal

    def update(self, key: bytes, value: bytes) -> None:
        if refused := self._fault(f"update {self.name}"):
            raise refused
        self._journal.append(("update", self.name, key))
        super().update(key, value)

    def delete(self, key: bytes) -> bool:
        if refused := self._fault(f"delete {self.name}"):
            raise refused
        self._journal.append(("delete", self.name, key))
        return super().delete(key)


class FakeDatapath:
    def __init__(self, fault: Fault = lambda _what: None) -> None:
        self.journal: list[tuple[str, str, bytes]] = []
        kinds = {NODES: 2}  # BPF_MAP_TYPE_ARRAY
        self.maps: Mapping[str, FakeMap] = {
            name: ShakyMap(MapSpec(name, kinds.get(name, 1), *sizes, 2 if name == NODES else 1000), fault, self.journal)
            for name, sizes in SIZES.items()
        }
        self.seen = SURFACE
        self.attached: set[str] = set()
        self._fault = fault

    def find(self) -> None: ...

    def open(self) -> None:
        if refused := self._fault("open"):
            raise refused

    def attach(self, devices: Iterable[Device]) -> int:
        wanted = {"sockets", *(device.name for device in devices if device.guarded)}
        new = wanted - self.attached
        self.attached = wanted
        return len(new)

    def intact(self, devices: Iterable[Device]) -> bool:
        return {"sockets", *(device.name for device in devices if device.guarded)} == self.attached

    def surface(self) -> Surface:
        return self.seen

    def remove(self) -> None:
        self.attached.clear()

    def close(self) -> None: ...


def read(datapath: FakeDatapath) -> list[Row]:
    """Everything in the maps, in words (without the numbers of sets, which depend on history)."""
    maps = {name: dict(datapath.maps[name].items()) for name in WRITTEN}
    return sorted(Explainer(State(4, maps, {}, {})).rows(), key=str)


def fresh(state: Wanted) -> list[Row]:
    datapath = FakeDatapath()
    Backend(datapath, FakeNft(), SETTINGS).sync(state)
    return read(datapath)


def insist(action: Callable[[], object]) -> None:
    """Try until the kernel agrees, as the proxy's pace does."""
    for _ in range(400):
        try:
            action()
            return
        except KernelError:
            continue
    raise AssertionError("refused four hundred times")


@pytest.mark.parametrize("fail", [0.0, 0.1])
@pytest.mark.parametrize("path", list(permutations(STATES, 3)), ids=" > ".join)
def test_every_path_leads_to_the_same_maps(path: tuple[str, ...], fail: float) -> None:
    chance = random.Random(str(path))

    def fault(what: str) -> KernelError | None:
        return KernelError(errno.EBUSY, what) if chance.random() < fail else None

    datapath = FakeDatapath(fault)
    backend = Backend(datapath, FakeNft(), SETTINGS)
    before: Wanted = {}
    for name in path:
        backend.expect(changes(before, STATES[name]))
        insist(lambda: backend.sync({}))
        before = STATES[name]
        assert read(datapath) == fresh(STATES[name])
        used = {key for key, _ in datapath.maps["names"].items()}
        assert {key[:4] for key, _ in datapath.maps[ENDPOINTS].items()} == used, "sets without a name, or the reverse"


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_restarted_agent_changes_only_what_is_wrong(before: str, after: str) -> None:
    datapath, nft = FakeDatapath(), FakeNft()
    Backend(datapath, nft, SETTINGS).sync(STATES[before])
    writes = len(nft.writes)
    datapath.journal.clear()
    result = Backend(datapath, nft, SETTINGS).sync(STATES[after])
    assert read(datapath) == fresh(STATES[after])
    assert bool(result) == bool(datapath.journal) == (before != after)
    assert len(nft.writes) == writes


def test_an_idle_sync_writes_nothing() -> None:
    datapath, nft = FakeDatapath(), FakeNft()
    backend = Backend(datapath, nft, SETTINGS)
    backend.sync(STATES["two share a pod"])
    before = len(nft.writes), len(datapath.journal)
    assert backend.verify()
    assert not backend.sync({})
    assert (len(nft.writes), len(datapath.journal)) == before


def whole(maps: Mapping[str, Mapping[bytes, bytes]]) -> bool:
    """Whether every frontend leads to sets of which every backend is there."""
    for value in maps[FRONTENDS].values():
        frontend = layout.unpack_frontend(value)
        for number, count in ((frontend.cluster, frontend.clusters), (frontend.local, frontend.locals)):
            if any(layout.pack_place(number, index) not in maps[ENDPOINTS] for index in range(count)):
                return False
    return True


@pytest.mark.parametrize("path", list(permutations(STATES, 2)), ids=" > ".join)
def test_no_program_ever_meets_a_set_that_is_not_whole(path: tuple[str, str]) -> None:
    """Between any two writes the maps lead from frontends to endpoints that are there."""
    moments: list[bool] = []
    datapath = FakeDatapath(lambda _what: moments.append(whole(snapshot())))  # type: ignore[func-returns-value]

    def snapshot() -> Mapping[str, Mapping[bytes, bytes]]:
        return {name: dict(datapath.maps[name].items()) for name in (FRONTENDS, ENDPOINTS)} if moments else EMPTY

    backend = Backend(datapath, FakeNft(), SETTINGS)
    backend.sync(STATES[path[0]])
    backend.sync(changes(STATES[path[0]], STATES[path[1]]))
    assert moments
    assert all(moments)


EMPTY: Mapping[str, Mapping[bytes, bytes]] = {FRONTENDS: {}, ENDPOINTS: {}}


@pytest.mark.parametrize(
    "vandalism", [f"flush chain ip {TABLE} refusal", f"delete table ip {TABLE}", f"add chain ip {TABLE} stranger"]
)
def test_what_others_did_to_the_rules_is_undone(vandalism: str) -> None:
    nft = FakeNft()
    backend = Backend(FakeDatapath(), nft, SETTINGS)
    backend.sync(STATES["one"])
    right = nft.listing("ip", TABLE)
    nft.run(vandalism)
    assert not backend.verify()
    assert backend.sync({})
    assert nft.listing("ip", TABLE) == right
    assert backend.verify()


def test_what_others_did_to_maps_and_programs_is_undone() -> None:
    datapath = FakeDatapath()
    backend = Backend(datapath, FakeNft(), SETTINGS)
    backend.sync(STATES["two share a pod"])
    right = read(datapath)
    datapath.maps[ENDPOINTS].delete_all([key for key, _ in datapath.maps[ENDPOINTS].items()])
    datapath.attached.discard("eth0")
    assert not backend.verify()
    assert backend.sync({})
    assert read(datapath) == right
    assert datapath.attached == {"sockets", "eth0"}


def test_the_families_share_maps_and_leave_each_others_entries_alone() -> None:
    datapath, nft = FakeDatapath(), FakeNft()
    both = [
        Backend(datapath, nft, SETTINGS),
        Backend(datapath, nft, Settings(6, ("fd00:10:244::/48",), node_addresses=("fd00::11",))),
    ]
    four = balancer("default/a", "10.96.0.1", ["10.0.0.1"])
    pods = tuple(type(four.cluster[0])(f"fd00::{host}", 8080, "here") for host in (1, 2))
    front = type(four.frontends[0])("fd00:10:96::1", "TCP", 80, "internal", "Cluster", None, "spec.clusterIPs[1]")
    six = type(four)("default/a", 6, 0, pods, (), (), any_backend=True, frontends=(front,))
    wanted = {("default", "a"): (four, six)}
    for backend in both:
        backend.sync(wanted)
    before = {name: dict(datapath.maps[name].items()) for name in WRITTEN}
    assert len(before[FRONTENDS]) == 2
    assert len(before[ENDPOINTS]) == 3
    datapath.journal.clear()
    assert not any(backend.sync({}) or not backend.verify() for backend in both)
    both[1].sync({("default", "a"): ()})
    left = {name: dict(datapath.maps[name].items()) for name in WRITTEN}
    assert left[FRONTENDS].items() < before[FRONTENDS].items()
    assert [layout.family_of(key) for key in left[FRONTENDS]] == [4]
    again = Backend(datapath, nft, SETTINGS)
    datapath.journal.clear()
    assert not again.sync(wanted)
    assert datapath.journal == []


def test_a_number_is_not_given_again_while_something_may_lead_to_it() -> None:
    """A set that goes and one that comes in one sync have different numbers: a program may be between the two."""
    datapath = FakeDatapath()
    backend = Backend(datapath, FakeNft(), SETTINGS)
    one = {("default", "a"): (balancer("default/a", "10.96.0.1", ["10.0.0.1"]),)}
    backend.sync(one)
    before = {key[:4] for key, _ in datapath.maps[ENDPOINTS].items()}
    backend.sync({("default", "a"): (), ("default", "b"): (balancer("default/b", "10.96.0.2", ["10.0.0.2"]),)})
    after = {key[:4] for key, _ in datapath.maps[ENDPOINTS].items()}
    assert not before & after
    backend.sync({("default", "c"): (balancer("default/c", "10.96.0.3", ["10.0.0.3"]),)})
    assert before < {key[:4] for key, _ in datapath.maps[ENDPOINTS].items()}, "it is free now"


def test_what_depends_on_settings_and_devices_follows_them() -> None:
    datapath, nft = FakeDatapath(), FakeNft()
    backend = Backend(datapath, nft, SETTINGS)
    backend.sync({})

    def held(name: str) -> set[bytes]:
        return {key for key, _ in datapath.maps[name].items()}

    assert held("addresses") == {layout.pack_address("172.30.0.11")}
    datapath.seen = Surface(
        (*SURFACE.devices, Device(9, "veth1", "cbr0")), (*SURFACE.addresses, "192.0.2.7", "fd00::1"), SURFACE.cookie
    )
    backend.verify()
    backend.sync({})
    assert held("addresses") == {layout.pack_address(each) for each in ("172.30.0.11", "192.0.2.7")}
    assert datapath.attached == {"sockets", "eth0", "veth1"}
    backend.settle(Settings(4, pod_interface="cbr*", node_port_addresses=("192.0.2.0/24",), masquerade_all=True))
    backend.sync({})
    assert held("addresses") == {layout.pack_address("192.0.2.7")}
    assert held("links") == {layout.pack_number(9)}
    assert held("pods") == set()
    node = layout.unpack_node(datapath.maps[NODES].lookup(layout.index_of(4)) or b"")
    flags = layout.NodeFlag
    assert node.flags == flags.MASQUERADE_ALL | flags.KNOWS_PODS | flags.PODS_BY_LINK
    assert (node.cookie, node.address) == (7, "")


def test_a_device_that_cannot_be_guarded_yet_is_tried_again_and_ends_nothing() -> None:
    """Once what a kernel refused on such an occasion went up to the agent, which ended."""
    refusing: list[str] = []
    datapath = FakeDatapath(lambda what: KernelError(errno.EBUSY, what) if what in refusing else None)
    backend = Backend(datapath, FakeNft(), SETTINGS)
    datapath.seen = Surface((*SURFACE.devices, Device(9, "veth1", "cbr0")), SURFACE.addresses, SURFACE.cookie)
    assert backend.look_again(), "nothing has begun: the first sync will look"
    assert datapath.attached == set()
    backend.sync(STATES["one"])
    datapath.seen = Surface((*datapath.seen.devices, Device(10, "veth2", "cbr0")), ("192.0.2.7",), SURFACE.cookie)
    refusing.append("update addresses")
    assert not backend.look_again()
    assert not backend.look_again()
    assert "veth2" not in datapath.attached
    refusing.clear()
    assert backend.look_again()
    assert datapath.attached == {"sockets", "eth0", "veth1", "veth2"}
    assert read(datapath) == fresh(STATES["one"])
    assert backend.verify()


def test_removal_takes_rules_and_programs() -> None:
    datapath, nft = FakeDatapath(), FakeNft()
    backend = Backend(datapath, nft, SETTINGS)
    for _ in range(2):
        backend.remove()
    assert nft.writes == []
    backend.sync(STATES["one"])
    assert rules.read(nft.listing("ip", TABLE) or "") == rules.chains()
    backend.remove()
    assert nft.listing("ip", TABLE) is None
    assert datapath.attached == set()
    assert {measure.name for measure in backend.measures()} == {"clew_proxy_ebpf_entries"}


def test_a_full_map_is_a_refusal_that_names_it() -> None:
    datapath = FakeDatapath()
    datapath.maps[FRONTENDS].capacity = 1
    backend = Backend(datapath, FakeNft(), SETTINGS)
    with pytest.raises(KernelError, match="frontends"):
        backend.sync(STATES["two share a pod"])
    backend.sync(dict.fromkeys(STATES["two share a pod"], ()) | STATES["one"])
    assert read(datapath) == fresh(STATES["one"])


async def test_who_closes_comes_after_the_look_that_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the devices outlived its task, nft was closed under it, and the library followed a null pointer."""
    heard, sent = socket.socketpair()

    class Heard:
        def __init__(self, _where: object) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def fileno(self) -> int:
            return heard.fileno()

        def drain(self) -> list[Event]:
            heard.recv(1)
            return [Overrun()]

    monkeypatch.setattr("clew.dataplane.ebpf.apply.Monitor", Heard)
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def look() -> bool:
        begun.set()
        may_end.wait(20)
        ended.set()
        return True

    backend = Backend(FakeDatapath(), FakeNft(), SETTINGS)
    monkeypatch.setattr(backend, "look_again", look)
    with heard, sent:
        serving = asyncio.ensure_future(backend.serve())
        sent.send(b"x")
        assert await asyncio.to_thread(begun.wait, 20)
        serving.cancel()
        asyncio.get_running_loop().call_later(0.05, may_end.set)
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert ended.is_set()
