"""The backend on fakes: every path between states ends in the same kernel; draining; what is ours and what is not."""

import errno
import random
from itertools import permutations

import msgspec
import pytest
from tests.unit.dataplane.balancers import STATES, A, B, Wanted, balancer, changes

from clew.base.xtables import read, with_jumps
from clew.dataplane.ipvs.apply import Backend, SyncResult
from clew.dataplane.ipvs.objects import DEVICE, KINDS, State, set_name
from clew.dataplane.ipvs.readback import Ports, read_state
from clew.dataplane.ipvs.rules import rules
from clew.ir.balancing import Backend as Pod
from clew.ir.balancing import Balancer, Frontend
from clew.ir.proxying import IpvsSettings, Settings
from clew.kernel.errors import KernelError
from clew.kernel.ipset import FakeIpSets, IpSet
from clew.kernel.iptables import FakeIptables
from clew.kernel.ipvs import (
    Change,
    FakeIpvs,
    IpvsError,
    Put,
    PutReal,
    RealServer,
    Timeouts,
    VirtualKey,
    VirtualServer,
)
from clew.kernel.ipvs import Delete as DeleteServer
from clew.kernel.netlink.fake import FakeNetlink
from clew.kernel.netlink.requests import Add, Delete
from clew.kernel.netlink.values import Address, Link, Plain
from clew.kernel.sysctl import FakeSysctl

SETTINGS = Settings(4, ("10.244.0.0/16",))
WEB = VirtualKey(4, "TCP", "10.96.0.1", 80)
NODE = "172.30.0.11"


class Faulty(FakeIpvs):
    """Refuses now and then."""

    def __init__(self, chance: random.Random, fail: float) -> None:
        super().__init__()
        self._chance, self._fail = chance, fail

    def _carry_out(self, change: Change) -> int:
        return errno.EBUSY if self._chance.random() < self._fail else super()._carry_out(change)


class Kernel:
    """One node's fakes, which know of each other what a kernel would."""

    def __init__(self, ipvs: FakeIpvs | None = None) -> None:
        self.ipvs = ipvs or FakeIpvs()
        self.ipsets = FakeIpSets()
        self.iptables = FakeIptables(lambda: self.ipsets.declared)
        self.links = FakeNetlink()
        self.sysctls = FakeSysctl()
        eth0 = Link("eth0", Plain("dummy"), up=True)
        self.links.request([Add(eth0), Add(Address(f"{NODE}/24", "eth0"))])

    def ports(self) -> Ports:
        return Ports(self.ipvs, self.ipsets, self.iptables, self.links, self.sysctls)

    def backend(self, settings: Settings = SETTINGS) -> Backend:
        backend = Backend(self.ports(), settings)
        backend.prepare()
        return backend

    def state(self, settings: Settings = SETTINGS) -> State:
        return read_state(self.ports(), settings)

    def writes(self) -> tuple[int, int, int, State]:
        return len(self.ipvs.changes), self.ipsets.changes, self.iptables.writes, self.state()


def fresh(state: Wanted) -> State:
    kernel = Kernel()
    kernel.backend().sync(state)
    return kernel.state()


@pytest.mark.parametrize("fail", [0.0, 0.2])
@pytest.mark.parametrize("path", list(permutations(STATES, 3)), ids=" > ".join)
def test_every_path_leads_to_the_same_kernel(path: tuple[str, ...], fail: float) -> None:
    ipvs = Faulty(random.Random(str(path)), 0.0)
    kernel = Kernel(ipvs)
    backend = kernel.backend()
    ipvs._fail = fail
    before: Wanted = {}
    for name in path:
        backend.expect(changes(before, STATES[name]))
        for _ in range(50):
            try:
                backend.sync({})
                break
            except KernelError:
                continue
        before = STATES[name]
        assert kernel.state() == fresh(STATES[name])


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_restarted_agent_changes_only_what_is_wrong(before: str, after: str) -> None:
    kernel = Kernel()
    kernel.backend().sync(STATES[before])
    again = kernel.backend()
    written = kernel.writes()
    result = again.sync(STATES[after])
    assert kernel.state() == fresh(STATES[after])
    assert bool(result) == (before != after)
    assert (kernel.writes() == written) == (before == after)
    assert again.verify()


def connected(kernel: Kernel, key: VirtualKey, at: tuple[str, int], active: int) -> None:
    reals = kernel.ipvs.reals[key]
    reals[at] = msgspec.structs.replace(reals[at], active=active)


def test_a_real_server_goes_when_its_last_connection_does() -> None:
    kernel = Kernel()
    backend = kernel.backend()
    backend.sync(STATES["one"])
    connected(kernel, WEB, ("10.0.0.1", 8080), 2)
    backend.sync(STATES["one fewer"])
    assert kernel.state().reals["TCP", "10.96.0.1", 80] == {("10.0.0.1", 8080): 0, ("10.0.0.2", 8080): 1}
    backend.tidy()
    assert not backend.sync({}), "it still has connections"
    again = kernel.backend()  # a restart forgets nothing
    again.sync(STATES["one fewer"])
    assert not again.programme.reals.deletions
    connected(kernel, WEB, ("10.0.0.1", 8080), 0)
    again.tidy()
    again.sync({})
    assert kernel.state() == fresh(STATES["one fewer"])


def test_a_real_server_that_comes_back_while_it_drains_is_used_again() -> None:
    kernel = Kernel()
    backend = kernel.backend()
    backend.sync(STATES["one"])
    connected(kernel, WEB, ("10.0.0.1", 8080), 2)
    backend.sync(STATES["one fewer"])
    backend.sync(STATES["one"])
    assert kernel.state() == fresh(STATES["one"])
    backend.tidy()
    assert not backend.sync({})


def test_a_service_without_backends_serves_its_connections_and_a_deleted_one_does_not() -> None:
    kernel = Kernel()
    backend = kernel.backend()
    backend.sync(STATES["one"])
    connected(kernel, WEB, ("10.0.0.1", 8080), 1)
    nobody = {A: (balancer("default/a", "10.96.0.1", []),)}
    backend.sync(nobody)
    assert kernel.state().reals == {("TCP", "10.96.0.1", 80): {("10.0.0.1", 8080): 0}}
    assert not kernel.state().sets["KUBE-CLUSTER-IP"], "new connections are refused"
    assert backend.verify()
    connected(kernel, WEB, ("10.0.0.1", 8080), 0)
    backend.tidy()
    backend.sync({})
    assert kernel.state() == fresh(nobody)
    backend.sync(STATES["one"])
    connected(kernel, WEB, ("10.0.0.1", 8080), 1)
    backend.sync({A: ()})
    assert kernel.state() == fresh({})


def test_real_servers_of_udp_go_at_once() -> None:
    kernel = Kernel()
    backend = kernel.backend()
    dns = Frontend("10.96.0.1", "UDP", 53, "internal", "Cluster", None, "")
    one, two = (Pod(f"10.0.0.{number}", 53, "elsewhere") for number in (1, 2))
    backend.sync({A: (Balancer("a", 4, 0, (one, two), (), (), True, (dns,)),)})
    connected(kernel, VirtualKey(4, "UDP", "10.96.0.1", 53), ("10.0.0.1", 53), 5)
    backend.sync({A: (Balancer("a", 4, 0, (two,), (), (), True, (dns,)),)})
    assert kernel.state().reals["UDP", "10.96.0.1", 53] == {("10.0.0.2", 53): 1}


class Choosy(FakeIpvs):
    """Does not take one real server, as the kernel does not take a multicast address."""

    def _carry_out(self, change: Change) -> int:
        if isinstance(change, PutReal) and change.server.address == "239.0.0.1":
            return errno.EINVAL
        return super()._carry_out(change)


def test_what_the_kernel_declines_keeps_the_others_from_nothing() -> None:
    kernel = Kernel(Choosy())
    backend = kernel.backend()
    wrong = {A: (balancer("default/a", "10.96.0.9", ["239.0.0.1", "10.0.0.1"]),)}
    with pytest.raises(IpvsError, match="EINVAL"):
        backend.sync(wrong | {B: STATES["the address moves"][B]})
    assert kernel.state().reals["TCP", "10.96.0.1", 80] == {("10.0.0.3", 8080): 1}
    assert kernel.state().reals["TCP", "10.96.0.9", 80] == {("10.0.0.1", 8080): 1}
    written = len(kernel.ipvs.changes)
    with pytest.raises(IpvsError, match="EINVAL"):
        backend.sync({})
    assert len(kernel.ipvs.changes) == written, "only what was declined is tried again"
    backend.sync({A: (balancer("default/a", "10.96.0.9", ["10.0.0.1"]),)})
    assert backend.verify()


def test_a_new_address_of_the_node_gets_node_ports_and_a_lost_one_loses_them() -> None:
    kernel = Kernel()
    backend = kernel.backend()
    state = STATES["two share a pod"]
    backend.sync(state)
    assert ("TCP", NODE, 30080) in kernel.state().servers
    kernel.links.request([Add(Address("172.30.5.5/24", "eth0"))])
    assert not backend.verify()
    assert backend.sync({})
    assert {address for _, address, port in kernel.state().servers if port == 30080} == {
        NODE,
        "172.30.5.5",
        "192.0.2.1",
    }
    kernel.links.request([Delete(Address("172.30.5.5/24", "eth0"))])
    backend.verify()
    backend.sync({})
    assert kernel.state() == fresh(state)


def test_an_address_that_the_node_carries_is_not_put_on_the_device() -> None:
    kernel = Kernel()
    backend = kernel.backend()
    backend.sync(STATES["two share a pod"])
    assert "192.0.2.1" in kernel.state().addresses
    kernel.links.request([Add(Address("192.0.2.1/32", "eth0"))])
    backend.verify()
    backend.sync({})
    assert "192.0.2.1" not in kernel.state().addresses
    assert ("TCP", "192.0.2.1", 30080) in kernel.state().servers


VANDALS = {
    "a virtual server": lambda kernel: kernel.ipvs.attempt([DeleteServer(WEB)]),
    "a real server": lambda kernel: kernel.ipvs.reals[WEB].clear(),
    "a weight": lambda kernel: kernel.ipvs.attempt([PutReal(WEB, RealServer("10.0.0.1", 8080, 7), known=True)]),
    "entries": lambda kernel: kernel.ipsets.content["KUBE-CLUSTER-IP"].clear(),
    "a set": lambda kernel: kernel.ipsets.destroy("KUBE-LOOP-BACK"),
    "an entry too many": lambda kernel: kernel.ipsets.content["KUBE-NODE-PORT-TCP"].add("22"),
    "a chain": lambda kernel: kernel.iptables.restore(4, "*nat\n-F KUBE-POSTROUTING\nCOMMIT\n"),
    "everything in nat": lambda kernel: kernel.iptables.families[4].pop("nat"),
    "an address": lambda kernel: kernel.links.request([Delete(Address("10.96.0.1/32", DEVICE))]),
    "the device": lambda kernel: kernel.links.request([Delete(Link(DEVICE))]),
}


@pytest.mark.parametrize("what", VANDALS)
def test_what_somebody_took_or_changed_comes_back(what: str) -> None:
    kernel = Kernel()
    backend = kernel.backend()
    backend.sync(STATES["two share a pod"])
    right = kernel.state()
    VANDALS[what](kernel)
    assert not backend.verify()
    assert backend.sync({})
    assert kernel.state() == right == fresh(STATES["two share a pod"])
    assert backend.verify()
    assert not backend.sync({})


def foreign(kernel: Kernel) -> VirtualKey:
    keepalived = VirtualKey(4, "TCP", "192.0.2.200", 443)
    kernel.ipvs.attempt([Put(keepalived, VirtualServer("wlc")), PutReal(keepalived, RealServer("192.0.2.201", 443))])
    kernel.ipsets.create(IpSet("theirs", "hash:ip"))
    kernel.iptables.restore(4, "*nat\n:THEIRS - [0:0]\n-A PREROUTING -j THEIRS\nCOMMIT\n")
    return keepalived


def test_what_is_not_ours_stays() -> None:
    kernel = Kernel()
    keepalived = foreign(kernel)
    backend = kernel.backend()
    for state in STATES.values():
        backend.sync({A: (), B: ()} | state)
    backend.remove()
    assert set(kernel.ipvs.servers()) == {keepalived}
    assert set(kernel.ipsets.sets()) == {"theirs"}
    left = read(kernel.iptables.save(4, "nat"))["nat"]
    assert {chain: listed for chain, listed in left.items() if listed or chain == "THEIRS"} == {
        "PREROUTING": ("-j THEIRS",),
        "THEIRS": (),
    }
    assert kernel.links.link(DEVICE) is None


def test_virtual_servers_in_excluded_ranges_are_not_touched() -> None:
    settings = msgspec.structs.replace(SETTINGS, ipvs=IpvsSettings(exclude_cidrs=("10.96.0.0/30", "fd00::/8")))
    kernel = Kernel()
    theirs = VirtualKey(4, "TCP", "10.96.0.2", 443)
    kernel.ipvs.attempt([Put(theirs, VirtualServer("wlc"))])
    backend = kernel.backend(settings)
    backend.sync({})
    kernel.links.request([Add(Address("10.96.0.2/32", DEVICE))])
    backend.verify()
    backend.sync({})
    assert set(kernel.ipvs.servers()) == {theirs}


def test_removing_what_is_not_there_writes_nothing() -> None:
    kernel = Kernel()
    before = kernel.writes()
    Backend(kernel.ports(), SETTINGS).remove()
    assert kernel.writes() == before
    assert kernel.iptables.tables(4) == set()


def test_chains_that_mode_iptables_has_taken_over_stay() -> None:
    kernel = Kernel()
    kernel.backend().sync(STATES["one"])
    theirs = "*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -d 10.96.0.1/32 -j RETURN\nCOMMIT\n"
    kernel.iptables.restore(4, theirs)
    Backend(kernel.ports(), SETTINGS).remove()
    nat = read(kernel.iptables.save(4, "nat"))["nat"]
    assert nat["KUBE-SERVICES"] == ("-d 10.96.0.1/32 -j RETURN",)
    assert {"KUBE-POSTROUTING", "KUBE-MARK-MASQ"} <= set(nat)
    assert "KUBE-NODE-PORT" not in nat


def test_the_device_goes_with_the_second_family() -> None:
    kernel = Kernel()
    six = Settings(6, ("fd00:10:244::/48",))
    frontend = Frontend("fd00:10:96::1", "TCP", 80, "internal", "Cluster", None, "")
    kernel.backend(six).sync({A: (Balancer("a", 6, 0, (), (), (), False, (frontend,)),)})
    four = kernel.backend()
    four.sync(STATES["one"])
    four.remove()
    assert kernel.links.link(DEVICE) is not None
    Backend(kernel.ports(), six).remove()
    assert kernel.links.link(DEVICE) is None
    assert not kernel.ipsets.sets()


def test_prepare_sets_what_kube_proxy_sets() -> None:
    kernel = Kernel()
    chosen = IpvsSettings(scheduler="wlc", strict_arp=True, tcp_timeout=1000.0, udp_timeout=20.0)
    kernel.backend(msgspec.structs.replace(SETTINGS, ipvs=chosen))
    assert kernel.sysctls.read("net.ipv4.vs.conntrack") == "1"
    assert kernel.sysctls.read("net.ipv4.conf.all.arp_ignore") == "1"
    assert kernel.sysctls.read("net.ipv4.conf.all.arp_announce") == "2"
    assert kernel.ipvs.timeouts() == Timeouts(1000, 120, 20)
    assert kernel.links.link(DEVICE) is not None
    assert not kernel.ipvs.servers(), "the probe of the scheduler leaves nothing"


def test_a_scheduler_that_the_kernel_lacks_is_named() -> None:
    settings = msgspec.structs.replace(SETTINGS, ipvs=msgspec.convert({"scheduler": "fo"}, IpvsSettings))
    kernel = Kernel()

    def refuse(change: Change) -> int:
        return errno.ENOENT if isinstance(change, Put) else 0

    kernel.ipvs._carry_out = refuse  # type: ignore[method-assign]
    with pytest.raises(IpvsError, match="fo"):
        kernel.backend(settings)


def test_names_of_sets_are_kube_proxys() -> None:
    assert set_name("KUBE-CLUSTER-IP", 6) == "KUBE-6-CLUSTER-IP"
    assert set_name("KUBE-LOAD-BALANCER-SOURCE-CIDR", 6) == "KUBE-6-LOAD-BALANCER-SOURCE-CID", "cut off, as there"
    assert all(len(set_name(name, 6)) <= 31 for name in KINDS)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"pod_cidrs": ()},
        {"pod_interface": "veth*"},
        {"masquerade_all": True},
        {"service_cidrs": ("10.96.0.0/12",)},
        {"node_port_addresses": ("172.30.0.0/24",)},
        {"masquerade_mark": 0x8},
    ],
    ids=str,
)
def test_rules_are_written_as_they_are_printed(family: int, changed: dict[str, object]) -> None:
    """The fake takes them for rules; tests/scenarios compares with what real programs print."""
    settings = msgspec.structs.replace(Settings(6 if family == 6 else 4, ("10.244.0.0/16",)), **changed)
    kernel = Kernel()
    for name, kind in KINDS.items():
        kernel.ipsets.create(
            IpSet(set_name(name, settings.family), kind, 4 if kind == "bitmap:port" else settings.family)
        )
    backend = kernel.backend(settings)
    backend.sync({})
    wanted = with_jumps(rules(settings))
    assert {table: read(kernel.iptables.save(settings.family, table))[table] for table in wanted} == {
        table: {**read(kernel.iptables.save(settings.family, table))[table], **chains}
        for table, chains in wanted.items()
    }


def test_a_range_of_cluster_addresses_is_one_entry() -> None:
    """Nothing of services is rendered anew, and no rule is written."""
    kernel = Kernel()
    backend = kernel.backend(SETTINGS)
    backend.sync(next(iter(STATES.values())))
    more = msgspec.structs.replace(SETTINGS, service_cidrs=("10.96.0.0/12", "10.187.210.0/28"))
    backend.settle(more)
    assert backend.sync({}) == SyncResult(entries=2)
    assert set(kernel.ipsets.entries("KUBE-SERVICE-RANGE")) == {"10.96.0.0/12", "10.187.210.0/28"}
    backend.settle(SETTINGS)
    assert backend.sync({}) == SyncResult(entries=2)
    assert not kernel.ipsets.entries("KUBE-SERVICE-RANGE")
