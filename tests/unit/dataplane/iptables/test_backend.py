"""The backend on the fake: every path between states, with and without refusals, ends in the same chains."""

import errno
import random
from collections.abc import Callable
from itertools import permutations

import pytest
from tests.unit.dataplane.balancers import STATES, A, B, Wanted, balancer, changes

from clew.base.addresses import Family
from clew.base.xtables import read
from clew.dataplane.iptables.apply import Backend
from clew.dataplane.iptables.programme import LARGE, TABLES
from clew.dataplane.iptables.rules import INVALID
from clew.ir.proxying import Settings
from clew.kernel.iptables import FakeIptables, IptablesError
from clew.kernel.sysctl import FakeSysctl

SETTINGS = Settings(4, ("10.244.0.0/16",))
FOREIGN = "*nat\n:THEIRS - [0:0]\n-A THEIRS -d 192.0.2.1/32 -j RETURN\n-A PREROUTING -j THEIRS\nCOMMIT\n"


EVERY = STATES | {
    "many": {("many", str(at)): (balancer(f"many/{at}", f"10.97.0.{at}", ["10.0.0.1"]),) for at in range(1, 6)},
}


class Faulty(FakeIptables):
    """Refuses to write, at times; keeps what it took."""

    def __init__(self, chance: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self._chance = chance
        self.scripts: list[str] = []

    def restore(self, family: Family, script: str) -> None:
        if self._chance():
            raise IptablesError(errno.EBUSY, "change rules")
        super().restore(family, script)
        self.scripts.append(script)


def tables(iptables: FakeIptables) -> dict[str, dict[str, list[str]]]:
    """Everything in the kernel; rules of services in a hub sorted, since their order says nothing."""
    found = {table: chains for name in TABLES for table, chains in read(iptables.save(4, name)).items()}
    return {
        table: {
            chain: sorted(rules[:-1]) + list(rules[-1:]) if chain == "KUBE-SERVICES" else sorted(rules)
            for chain, rules in chains.items()
        }
        for table, chains in found.items()
    }


def fresh(state: Wanted, settings: Settings = SETTINGS) -> dict[str, dict[str, list[str]]]:
    iptables = FakeIptables()
    iptables.restore(4, FOREIGN)
    Backend(iptables, settings, FakeSysctl()).sync(state)
    return tables(iptables)


@pytest.mark.parametrize("fail", [0.0, 0.4])
@pytest.mark.parametrize("path", list(permutations(EVERY, 3)), ids=" > ".join)
def test_every_path_leads_to_the_same_chains(path: tuple[str, ...], fail: float) -> None:
    chance = random.Random(str(path))
    iptables = Faulty(lambda: chance.random() < fail)
    FakeIptables.restore(iptables, 4, FOREIGN)
    backend = Backend(iptables, SETTINGS, FakeSysctl())
    before: Wanted = {}
    for name in path:
        backend.expect(changes(before, EVERY[name]))
        for _ in range(50):
            try:
                backend.sync({})
                break
            except IptablesError:
                continue
        before = EVERY[name]
        assert tables(iptables) == fresh(EVERY[name])


@pytest.mark.parametrize("before", EVERY)
@pytest.mark.parametrize("after", EVERY)
def test_a_restarted_agent_changes_only_what_is_wrong(before: str, after: str) -> None:
    iptables = FakeIptables()
    iptables.restore(4, FOREIGN)
    Backend(iptables, SETTINGS, FakeSysctl()).sync(EVERY[before])
    writes = iptables.writes
    again = Backend(iptables, SETTINGS, FakeSysctl())
    result = again.sync(EVERY[after])
    assert tables(iptables) == fresh(EVERY[after])
    assert bool(result) == (before != after) == (iptables.writes > writes)


@pytest.mark.parametrize(
    "vandalism",
    [
        "*nat\n-F KUBE-SERVICES\nCOMMIT\n",
        "*nat\n-F KUBE-POSTROUTING\nCOMMIT\n",
        '*nat\n-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\nCOMMIT\n',
        "*nat\n-F PREROUTING\n-F OUTPUT\n-F POSTROUTING\nCOMMIT\n*filter\n-F INPUT\n-F FORWARD\n-F OUTPUT\nCOMMIT\n",
        "*nat\n-I KUBE-SERVICES -j KUBE-NODEPORTS\nCOMMIT\n",
        "*filter\n-F FORWARD\n-F KUBE-FORWARD\n-X KUBE-FORWARD\nCOMMIT\n",
        "*nat\n:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]\nCOMMIT\n",
    ],
)
def test_what_somebody_changed_is_put_right_once(vandalism: str) -> None:
    iptables = FakeIptables()
    backend = Backend(iptables, SETTINGS, FakeSysctl())
    backend.sync(EVERY["two share a pod"])
    assert backend.verify()
    right = tables(iptables)
    iptables.restore(4, vandalism)
    assert not backend.verify()
    assert backend.sync({})
    assert tables(iptables) == right
    writes = iptables.writes
    assert backend.verify()
    assert not backend.sync({})
    assert iptables.writes == writes


def test_a_rule_that_must_be_last_and_is_not_is_moved() -> None:
    iptables = FakeIptables()
    backend = Backend(iptables, SETTINGS, FakeSysctl())
    backend.sync(EVERY["two share a pod"])
    rules = read(iptables.save(4, "nat"))["nat"]["KUBE-SERVICES"]
    turned = "".join(f"-A KUBE-SERVICES {rule}\n" for rule in (rules[-1], rules[-1], *rules[:-1]))
    iptables.restore(4, f"*nat\n-F KUBE-SERVICES\n{turned}COMMIT\n")
    backend.verify()
    backend.sync({})
    found = read(iptables.save(4, "nat"))["nat"]["KUBE-SERVICES"]
    assert sorted(found[:-1]) == sorted(rules[:-1])
    assert found[-1] == rules[-1]


def test_one_change_names_only_what_it_changes() -> None:
    iptables = Faulty()
    backend = Backend(iptables, SETTINGS, FakeSysctl())
    backend.sync(EVERY["many"])
    backend.sync({("many", "9"): (balancer("many/9", "10.97.0.9", ["10.0.0.9"]),)})
    assert len([line for line in iptables.scripts[-1].splitlines() if line.startswith(("-A", "-I", "-D"))]) == 5
    assert "10.97.0.1/32" not in iptables.scripts[-1]


def test_nothing_of_ours_is_left_behind_and_others_stay() -> None:
    iptables = FakeIptables()
    iptables.restore(4, FOREIGN)
    theirs = tables(iptables)
    backend = Backend(iptables, SETTINGS, FakeSysctl())
    backend.sync(EVERY["two share a pod"])
    backend.remove()
    after = tables(iptables)
    assert after["nat"] == theirs["nat"]
    assert not any(chain.startswith("KUBE") for chains in after.values() for chain in chains)


def test_the_way_to_loopback_is_closed_with_the_chain_that_guards_it() -> None:
    iptables, sysctl = FakeIptables(), FakeSysctl()
    backend = Backend(iptables, Settings(4, localhost_node_ports=True), sysctl)
    backend.prepare()
    backend.sync({})
    assert sysctl.read("net.ipv4.conf.all.route_localnet") == "1"
    backend.remove()
    assert sysctl.read("net.ipv4.conf.all.route_localnet") == "0"


KUBELETS = """*mangle
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -j DROP
-A INPUT -j KUBE-FIREWALL
COMMIT
"""


def test_the_kubelets_own_chain_is_its_own() -> None:
    """A kubelet writes KUBE-FIREWALL as well, and writes it again each minute when somebody took it away."""
    iptables = FakeIptables()
    iptables.restore(4, KUBELETS)
    before = tables(iptables)
    backend = Backend(iptables, SETTINGS, FakeSysctl())
    backend.sync(EVERY["one"])
    assert tables(iptables)["filter"]["KUBE-FIREWALL"] == before["filter"]["KUBE-FIREWALL"]
    assert backend.verify()
    guarded = Backend(iptables, Settings(4, localhost_node_ports=True), FakeSysctl())
    guarded.sync({})
    guarded.remove()
    after = tables(iptables)
    assert {chain for chains in after.values() for chain in chains if "KUBE" in chain} == {
        "KUBE-KUBELET-CANARY",
        "KUBE-FIREWALL",
    }
    assert "-j KUBE-FIREWALL" in after["filter"]["INPUT"]


def test_where_nobody_opened_loopback_it_is_left_alone() -> None:
    iptables, sysctl = FakeIptables(), FakeSysctl()
    sysctl.write({"net.ipv4.conf.all.route_localnet": 1})
    backend = Backend(iptables, SETTINGS, sysctl)
    backend.sync({})
    backend.remove()
    assert sysctl.read("net.ipv4.conf.all.route_localnet") == "1"


def test_what_others_lead_to_stays_when_the_rest_goes() -> None:
    iptables = FakeIptables()
    backend = Backend(iptables, SETTINGS, FakeSysctl())
    backend.sync(EVERY["one"])
    iptables.restore(4, "*nat\n:CNI-HOSTPORT-SETMARK - [0:0]\n-A CNI-HOSTPORT-SETMARK -j KUBE-MARK-MASQ\nCOMMIT\n")
    backend.remove()
    nat = tables(iptables)["nat"]
    assert {chain for chain in nat if chain.startswith("KUBE")} == {"KUBE-MARK-MASQ"}
    assert nat["KUBE-MARK-MASQ"] == ["-j MARK --set-xmark 0x4000/0x4000"]


def test_where_iptables_was_never_on_nothing_is_taken_away() -> None:
    """The mode ipvs has chains of the same names, and an agent in that mode cleans up after this one at its start."""
    iptables = FakeIptables()
    iptables.restore(4, "*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n")
    writes = iptables.writes
    Backend(iptables, SETTINGS, FakeSysctl()).remove()
    assert iptables.writes == writes


@pytest.mark.parametrize("name", ["KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP"])
def test_chains_that_the_mode_ipvs_took_over_stay(name: str) -> None:
    """Seen in a guest: the set has another name for IPv6, and that family lost its chains with the switch."""
    iptables = FakeIptables()
    Backend(iptables, SETTINGS, FakeSysctl()).sync(EVERY["one"])
    theirs = f"-m set --match-set {name} dst,dst -j KUBE-MARK-MASQ"
    iptables.restore(4, f"*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES {theirs}\nCOMMIT\n")
    Backend(iptables, SETTINGS, FakeSysctl()).remove()
    found = tables(iptables)
    assert {chain for chain in found["nat"] if "KUBE" in chain} == {
        "KUBE-SERVICES",
        "KUBE-POSTROUTING",
        "KUBE-MARK-MASQ",
    }
    assert {chain for chain in found["filter"] if "KUBE" in chain} == {"KUBE-FORWARD"}
    assert found["nat"]["PREROUTING"]
    assert found["mangle"] == {chain: [] for chain in found["mangle"]}


def test_in_a_large_cluster_rules_of_endpoints_say_nothing() -> None:
    pods = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(LARGE)]
    state: Wanted = {A: (balancer("default/a", "10.96.0.1", pods),)}
    backend = Backend(FakeIptables(), SETTINGS, FakeSysctl())
    backend.sync(state)

    def comments() -> int:
        rules = [
            rule for (_, chain), rules in backend.programme.chains.actual.items() if "SEP" in chain for rule in rules
        ]
        return sum("--comment" in rule for rule in rules)

    assert comments() == 2 * LARGE
    backend.sync({B: (balancer("default/b", "10.96.0.2", ["10.1.0.1"]),)})
    assert comments() == 0
    backend.sync({B: ()})
    assert comments() == 2 * LARGE


def test_settings_reach_the_rules_of_services() -> None:
    iptables = FakeIptables()
    iptables.restore(4, FOREIGN)
    backend = Backend(iptables, SETTINGS, FakeSysctl())
    backend.sync(EVERY["two share a pod"])
    other = Settings(4, ("10.0.0.0/9", "10.128.0.0/10"), node_port_addresses=("172.30.0.0/24",), masquerade_mark=0x8000)
    backend.settle(other)
    backend.sync({})
    assert tables(iptables) == fresh(EVERY["two share a pod"], other)


def test_invalid_packets_are_counted_over_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where somebody flushed the chain, and the rule's own count began anew."""
    iptables = FakeIptables()
    backend = Backend(iptables, SETTINGS, FakeSysctl())
    backend.sync(EVERY["one"])
    assert INVALID in iptables.met(4, "filter", "KUBE-FORWARD")
    seen = []
    for met in (0, 5, 9, 2):
        monkeypatch.setattr(iptables, "met", lambda *_, count=met: {INVALID: count})
        assert backend.verify()
        seen += [each.value for each in backend.measures() if "ct_state_invalid" in each.name]
    assert seen == [0, 5, 9, 11]


def test_measures_are_kube_proxys() -> None:
    backend = Backend(FakeIptables(), SETTINGS, FakeSysctl())
    backend.sync(EVERY["one"])
    values = {(each.name, dict(each.labels).get("table")): each.value for each in backend.measures()}
    rows = sum(len(rules) for chains in backend.programme.wanted().values() for rules in chains.values())
    assert sum(values["kubeproxy_sync_proxy_rules_iptables_total", table] for table in TABLES) == rows
    assert values["kubeproxy_sync_proxy_rules_iptables_restore_failures_total", None] == 0
