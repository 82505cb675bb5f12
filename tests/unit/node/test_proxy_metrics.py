"""kube-proxy's metrics: every name with its kind and labels in the modes that have it, and none of them stands still.

Source: the metrics reference of Kubernetes 1.36; k8s.io/kubernetes pkg/proxy/metrics/metrics.go.
"""

import errno
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.unit.dataplane.ipvs.test_backend import Kernel
from tests.unit.node.test_proxy import VIP, Node1, ports

from clew.base.metrics import Registry
from clew.dataplane.iptables import apply as iptables
from clew.dataplane.iptables.objects import NODE_PORTS
from clew.dataplane.iptables.rules import INVALID
from clew.dataplane.ipvs import apply as ipvs
from clew.kernel.conntrack import FakeConntrack, Flow
from clew.kernel.iptables import FakeIptables, IptablesError
from clew.kernel.nft import FakeNft, NftError
from clew.kernel.sysctl import FakeSysctl
from clew.node.health import Health
from clew.node.proxy import ProxyPorts, ProxySettings, ServiceProxy
from clew.reconcile import Turn

RULES = "kubeproxy_sync_proxy_rules_"
EVERYWHERE = {
    f"{RULES}duration_seconds": "histogram ip_family",
    "kubeproxy_sync_full_proxy_rules_duration_seconds": "histogram ip_family",
    "kubeproxy_sync_partial_proxy_rules_duration_seconds": "histogram ip_family",
    f"{RULES}last_timestamp_seconds": "gauge ip_family",
    f"{RULES}last_queued_timestamp_seconds": "gauge ip_family",
    "kubeproxy_network_programming_duration_seconds": "histogram ip_family",
    f"{RULES}endpoint_changes_pending": "gauge",
    f"{RULES}endpoint_changes_total": "counter",
    f"{RULES}service_changes_pending": "gauge",
    f"{RULES}service_changes_total": "counter",
    f"{RULES}no_local_endpoints_total": "gauge ip_family traffic_policy",
    "kubeproxy_conntrack_reconciler_sync_duration_seconds": "histogram ip_family",
    "kubeproxy_conntrack_reconciler_deleted_entries_total": "counter ip_family",
    "kubeproxy_proxy_healthz_total": "counter code",
    "kubeproxy_proxy_livez_total": "counter code",
}
OF_MODE = {
    "nftables": {
        f"{RULES}nftables_sync_failures_total": "counter ip_family",
        f"{RULES}nftables_cleanup_failures_total": "counter ip_family",
    },
    "iptables": {
        f"{RULES}iptables_total": "gauge ip_family table",
        f"{RULES}iptables_last": "gauge ip_family table",
        f"{RULES}iptables_restore_failures_total": "counter ip_family",
        f"{RULES}iptables_partial_restore_failures_total": "counter ip_family",
        "kubeproxy_iptables_ct_state_invalid_dropped_packets_total": "counter",
        "kubeproxy_iptables_localhost_nodeports_accepted_packets_total": "counter",
    },
    "ipvs": {f"{RULES}iptables_restore_failures_total": "counter ip_family"},
}


class Metrics:
    """A page of metrics, read."""

    def __init__(self, text: str) -> None:
        self.kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
            pairs = frozenset(re.findall(r'(\w+)="([^"]*)"', labels))
            self.samples[name, pairs] = float(value)

    def __getitem__(self, name: str) -> Mapping[frozenset[tuple[str, str]], float]:
        """Of a histogram, how many observations."""
        whole = f"{name}_count" if self.kinds[name] == "histogram" else name
        return {labels: value for (each, labels), value in self.samples.items() if each == whole}

    def of(self, name: str, **labels: str) -> float:
        return self[name][frozenset(labels.items())]

    def shape(self, name: str) -> str:
        names = {tuple(sorted(label for label, _ in labels)) for labels in self[name]}
        assert len(names) == 1, f"{name} has {names}"
        return " ".join((self.kinds[name], *names.pop()))


class Refusing(FakeIptables):
    """Refuses scripts while `refuse` is set, and says what rules met."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse = False
        self.counts: dict[str, int] = {}

    def restore(self, family: Any, script: str) -> None:
        if self.refuse:
            raise IptablesError(errno.EBUSY, "change rules")
        super().restore(family, script)

    def met(self, family: Any, table: str, chain: str) -> Mapping[str, int]:
        return {rule: self.counts.get(chain, 0) for rule in super().met(family, table, chain)}


class Proxy:
    """A proxy of a mode on fakes, with a Service that has all kinds of frontends and one endpoint."""

    def __init__(self, mode: str) -> None:
        self.fault: list[NftError] = []
        self.iptables = Refusing()
        self.node = Node1(FakeNft(lambda _: self.fault.pop() if self.fault else None))
        self.registry = Registry()
        guest = Kernel()
        guest.iptables = self.iptables
        openers: dict[str, Callable[[Any], Any]] = {
            "nftables": ports(self.node.nft, FakeConntrack()).open,
            "iptables": lambda all_: [iptables.Backend(self.iptables, each, FakeSysctl()) for each in all_],
            "ipvs": lambda all_: [ipvs.Backend(guest.ports(), each) for each in all_],
        }
        self.conntrack = FakeConntrack()
        settings = ProxySettings("node-1", localhost_node_ports=mode == "iptables")
        self.proxy = ServiceProxy(
            self.node.tables, settings, ProxyPorts(openers[mode], self.conntrack), self.node.clock, self.registry
        )
        self.health = Health(self.node.clock, lambda: None, self.proxy.families, self.registry)

    def put(self, *addresses: str) -> None:
        self.node.put_service(
            type="NodePort", externalTrafficPolicy="Local", ports=[{"port": 80, "nodePort": 30080, "protocol": "UDP"}]
        )
        self.node.put_slice(*addresses, protocol="UDP", changed="1970-01-01T00:16:39Z")

    @property
    def metrics(self) -> Metrics:
        return Metrics(self.registry.render())


async def churn(mode: str) -> Proxy:
    """Everything that a proxy lives through."""
    made = Proxy(mode)
    made.put("10.0.0.1")
    made.node.in_sync()
    made.proxy.prepare()
    await made.proxy.sync()
    made.proxy._changed()
    made.put("10.0.0.1", "10.0.0.2")
    await made.proxy.sync()
    made.conntrack.table = [Flow(4, "UDP", "10.244.0.9", 4000, VIP, 80, "10.0.0.2", 8080)]
    made.put("10.0.0.1")
    await made.proxy.sync()
    made.health.healthz()
    made.health.livez()
    return made


@pytest.mark.parametrize("mode", OF_MODE)
async def test_names_kinds_and_labels_are_kube_proxys(mode: str) -> None:
    metrics = (await churn(mode)).metrics
    wanted = EVERYWHERE | OF_MODE[mode]
    assert {name: metrics.shape(name) for name in wanted} == wanted
    others = {name for each in OF_MODE.values() for name in each} - wanted.keys()
    assert not others & metrics.kinds.keys(), "a mode has no metrics of others"


@pytest.mark.parametrize("mode", OF_MODE)
async def test_what_every_mode_has_moves(mode: str) -> None:
    metrics = (await churn(mode)).metrics
    assert metrics.of(f"{RULES}duration_seconds", ip_family="IPv4") == 3
    assert metrics.of("kubeproxy_sync_full_proxy_rules_duration_seconds", ip_family="IPv6") == 1
    assert metrics.of("kubeproxy_sync_partial_proxy_rules_duration_seconds", ip_family="IPv4") == 2
    assert metrics.of(f"{RULES}last_timestamp_seconds", ip_family="IPv6") == 1000
    assert metrics.of(f"{RULES}last_queued_timestamp_seconds", ip_family="IPv4") == 1000
    assert metrics.of("kubeproxy_network_programming_duration_seconds", ip_family="IPv4") == 2
    assert metrics.of(f"{RULES}endpoint_changes_total") == 3
    assert metrics.of(f"{RULES}service_changes_total") == 1
    assert metrics.of(f"{RULES}no_local_endpoints_total", ip_family="IPv4", traffic_policy="external") == 1
    assert metrics.of("kubeproxy_conntrack_reconciler_sync_duration_seconds", ip_family="IPv4") >= 1
    assert metrics.of("kubeproxy_conntrack_reconciler_deleted_entries_total", ip_family="IPv4") == 1
    assert metrics.of("kubeproxy_proxy_healthz_total", code="503") == 1, "there is no Node"
    assert metrics.of("kubeproxy_proxy_livez_total", code="200") == 1


async def test_changes_are_pending_until_a_sync_has_seen_them() -> None:
    """They stood at 0 whatever waited."""
    made = await churn("nftables")
    made.put("10.0.0.3")
    made.node.put_service("other", clusterIP="10.96.0.11")
    waiting = made.metrics
    assert (waiting.of(f"{RULES}endpoint_changes_pending"), waiting.of(f"{RULES}service_changes_pending")) == (1, 1)
    await made.proxy.sync()
    seen = made.metrics
    assert (seen.of(f"{RULES}endpoint_changes_pending"), seen.of(f"{RULES}service_changes_pending")) == (0, 0)


async def test_refusals_of_nft_are_counted() -> None:
    made = await churn("nftables")
    made.fault.append(NftError(errno.EBUSY, "busy"))
    made.put("10.0.0.3")
    with pytest.raises(NftError):
        await made.proxy.sync()
    made.fault.append(NftError(errno.EBUSY, "busy"))
    with pytest.raises(NftError):
        made.proxy.remove()
    for what in ("sync", "cleanup"):
        assert made.metrics.of(f"{RULES}nftables_{what}_failures_total", ip_family="IPv4") == 1


@pytest.mark.parametrize("mode", ["iptables", "ipvs"])
async def test_refusals_of_iptables_restore_are_counted(mode: str) -> None:
    made = Proxy(mode)
    made.proxy.prepare()
    made.put("10.0.0.1")
    made.node.in_sync()
    made.iptables.refuse = True
    with pytest.raises(IptablesError):
        await made.proxy.sync()
    assert made.metrics.of(f"{RULES}iptables_restore_failures_total", ip_family="IPv4") == 1
    made.iptables.refuse = False
    await made.proxy.sync()
    if mode == "ipvs":
        return  # its rules do not change with services
    assert made.metrics.of(f"{RULES}iptables_partial_restore_failures_total", ip_family="IPv4") == 0
    made.iptables.refuse = True
    made.put("10.0.0.2")
    with pytest.raises(IptablesError):
        await made.proxy.sync()
    assert made.metrics.of(f"{RULES}iptables_partial_restore_failures_total", ip_family="IPv4") == 1
    assert made.metrics.of(f"{RULES}iptables_restore_failures_total", ip_family="IPv4") == 2


async def test_rules_are_counted_in_all_and_as_last_written() -> None:
    made = Proxy("iptables")
    made.put("10.0.0.1")
    made.node.in_sync()
    await made.proxy.sync()
    before = made.metrics.of(f"{RULES}iptables_total", ip_family="IPv4", table="nat")
    assert made.metrics.of(f"{RULES}iptables_last", ip_family="IPv4", table="nat") == before > 10
    made.put("10.0.0.1", "10.0.0.2")
    await made.proxy.sync()
    after = made.metrics
    assert after.of(f"{RULES}iptables_total", ip_family="IPv4", table="nat") == before + 3  # two in KUBE-SEP, one to it
    assert 3 <= after.of(f"{RULES}iptables_last", ip_family="IPv4", table="nat") < before


async def test_packets_are_counted_over_every_look_and_both_families() -> None:
    """kube-proxy's nfacct objects know no family: one sample. Loopback has node ports in IPv4 only."""
    made = Proxy("iptables")
    made.put("10.0.0.1")
    made.node.in_sync()
    await made.proxy.sync()
    for forward, node_ports in ((4, 3), (1, 5)):  # rules that were made anew begin at nought
        made.iptables.counts = {"KUBE-FORWARD": forward, NODE_PORTS: node_ports}
        await made.proxy.sync(Turn.PERIODIC)
    assert INVALID in made.iptables.met(4, "filter", "KUBE-FORWARD")
    counted = made.metrics
    assert counted.of("kubeproxy_iptables_ct_state_invalid_dropped_packets_total") == 2 * (4 + 1)
    assert counted.of("kubeproxy_iptables_localhost_nodeports_accepted_packets_total") == 5
