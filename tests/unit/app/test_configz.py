"""/configz says what is in force, in the names and the spelling of kube-proxy's page."""

import pytest

from clew.app import configz, kube_proxy_config
from clew.app.kube_proxy_settings import proxy_settings

FILE = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "mode": "nftables",
    "nftables": {"masqueradeAll": True, "masqueradeBit": 7, "syncPeriod": "1m30s"},
    "ipvs": {"strictARP": True, "scheduler": "wlc", "tcpTimeout": "15m"},
    "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "24h"},
    "detectLocalMode": "InterfaceNamePrefix",
    "detectLocal": {"interfaceNamePrefix": "veth"},
    "nodePortAddresses": ["192.0.2.0/24"],
    "metricsBindAddress": "::1",
}


def test_what_the_file_says_and_what_follows_from_it() -> None:
    said = kube_proxy_config.parse(FILE)
    document = configz.document(said, "nftables", proxy_settings(said, "node-1", ["10.244.0.0/16"]))
    (shown,) = document.values()
    assert list(document) == ["kubeproxy.config.k8s.io"]
    assert shown["Mode"] == "nftables"
    assert shown["Linux"]["MasqueradeAll"] is True
    assert shown["NFTables"] == {"MasqueradeBit": 7}
    assert shown["SyncPeriod"] == "1m30s"
    assert shown["MinSyncPeriod"] == "10ms"
    assert shown["ConfigSyncPeriod"] == "15m0s"
    assert shown["IPVS"]["StrictARP"] is True
    assert (shown["IPVS"]["Scheduler"], shown["IPVS"]["TCPTimeout"]) == ("wlc", "15m0s")
    assert shown["Linux"]["Conntrack"]["TCPEstablishedTimeout"] == "24h0m0s"
    assert shown["Linux"]["Conntrack"]["TCPCloseWaitTimeout"] == "1h0m0s", "kube-proxy's own"
    assert shown["DetectLocal"]["InterfaceNamePrefix"] == "veth"
    assert shown["DetectLocal"]["ClusterCIDRs"] == [], "they decide nothing in this mode"
    assert shown["NodePortAddresses"] == ["192.0.2.0/24"]
    assert (shown["MetricsBindAddress"], shown["HealthzBindAddress"]) == ("[::1]:10249", "0.0.0.0:10256")


@pytest.mark.parametrize(
    ("length", "text"),
    [(0, "0s"), (0.01, "10ms"), (0.5, "500ms"), (1, "1s"), (1.5, "1.5s"), (60, "1m0s"), (3661, "1h1m1s")],
)
def test_durations_are_written_as_go_writes_them(length: float, text: str) -> None:
    assert configz.duration(length) == text
