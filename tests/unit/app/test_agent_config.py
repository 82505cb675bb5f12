"""The agent's configuration file: what it takes, and how it says no."""

import pytest

from clew.app import agent_config
from clew.app.kube_proxy_config import seconds
from clew.base.errors import UserError

AGENT = "apiVersion: clew.dev/v1alpha1\nkind: AgentConfiguration\n"
PROXY = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


def test_nothing_said_is_a_default() -> None:
    found = agent_config.parse("")
    assert found.agent.socket_path == "/run/clew/cni.sock"
    assert (found.proxy.healthz, found.proxy.metrics) == ("0.0.0.0:10256", "127.0.0.1:10249")


def test_both_documents() -> None:
    found = agent_config.parse(
        AGENT + "clusterCIDRs: [10.244.0.0/16, 'fd00::/48']\nmtu: 1400\n---\n"
        + PROXY + "mode: nftables\nmetricsBindAddress: '::1'\nnftables: {syncPeriod: 30s, masqueradeAll: true}\n"
    )  # fmt: skip
    assert found.agent.cluster_cidrs == ["10.244.0.0/16", "fd00::/48"]
    assert found.agent.mtu == 1400
    assert found.proxy.metrics == "[::1]:10249"
    assert found.proxy.nftables.masquerade_all
    assert found.proxy.ignored == ()


def test_who_sees_pods_as_they_are_is_said_in_ip_masq_agents_words() -> None:
    fields = "network: {nonMasqueradeCIDRs: [10.0.0.0/8], masqLinkLocal: true, masqLinkLocalIPv6: false}\n"
    assert agent_config.parse(AGENT + fields).agent.network.plain() == ("10.0.0.0/8", "fe80::/10")
    assert agent_config.parse("").agent.network.plain() == ("169.254.0.0/16", "fe80::/10")


def test_json_is_read_as_well() -> None:
    text = '{"apiVersion": "clew.dev/v1alpha1", "kind": "AgentConfiguration", "mtu": 1300}\n---\n'
    text += '{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": ""}\n'
    assert agent_config.parse(text).agent.mtu == 1300


def test_a_kube_proxys_own_file() -> None:
    """What kubeadm writes: every field spelled out, most of them empty."""
    found = agent_config.parse(PROXY + KUBEADM)
    assert found.proxy.ignored == ()
    assert found.proxy.client_connection.kubeconfig == "/x/kubeconfig.conf"
    louder = KUBEADM.replace("enableProfiling: false", "enableProfiling: true").replace(
        'portRange: ""', "portRange: 30000-32767"
    )
    assert agent_config.parse(PROXY + louder).proxy.ignored == ("enableProfiling", "portRange")


def test_a_null_says_nothing() -> None:
    """As Go reads it; once `mode: null` was refused for not being text."""
    nulls = "mode: null\nclusterCIDR: null\nipvs: null\nnftables: {syncPeriod: null}\nnodePortAddresses: null\n"
    assert agent_config.parse(PROXY + nulls) == agent_config.parse(PROXY)


KUBEADM = """
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection: {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: /x/kubeconfig.conf, qps: 0}
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null,
  tcpEstablishedTimeout: null, udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s,
  tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: ""
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (AGENT + "mtuu: 5\n", "mtuu"),
        (AGENT + "mtu: 500\n", "mtu: 500"),
        (AGENT + "clusterCIDRs: [10.244.0.1/16]\n", "clusterCIDRs[0]"),
        (
            AGENT + "clusterCIDRs: [10.96.0.0/13]\nserviceCIDRs: ['fd00::/112', 10.96.0.0/12]\n",
            "serviceCIDRs[1]: 10.96.0.0/12 overlaps with clusterCIDRs[0], 10.96.0.0/13",
        ),
        (AGENT + "clusterCIDRs: [127.0.0.0/16]\n", "clusterCIDRs[0]: 127.0.0.0/16 overlaps with 127.0.0.0/8: loopback"),
        (AGENT + "serviceCIDRs: [10.96.0.0/12, 'ff02::/112']\n", "serviceCIDRs[1]: ff02::/112 overlaps"),
        (AGENT + "networkName: a b\n", "networkName: 'a b' is no name of a CNI network"),
        (AGENT + "networkName: ''\n", "networkName: ''"),
        (AGENT + f"socketPath: /{'x' * 107}\n", "is too long (Linux takes 107 bytes)"),
        (AGENT + "cniBinDir: rel\n", "cniBinDir: 'rel' is not an absolute path"),
        (AGENT + "cniConfFile: /etc/cni/net.d/\n", "cniConfFile: '/etc/cni/net.d/' is no list to a runtime"),
        (AGENT + "mtu: big\n", "AgentConfiguration: mtu: wrong type (expected int, got str)"),
        (AGENT + "network: {links: ovs}\n", "network.links: 'ovs' is not known (use bridge, routed)"),
        (AGENT + "socketPath: cni.sock\n", "socketPath: 'cni.sock' is not"),
        (AGENT + "network: {ipam: {type: dhcp}}\n", "network.ipam.type: 'dhcp'"),
        (AGENT + "network: {ipam: {type: pools}}\n", "network.links: bridge has no way to an address"),
        (AGENT + "network: {nonMasqueradeCIDRs: [10.0.0.1/8]}\n", "network.nonMasqueradeCIDRs[0]: 10.0.0.1/8"),
        (AGENT + "network: {bird: {socket: /run/bird.ctl}}\n", "network.bird: socket and include belong together"),
        (AGENT + "network: {bird: {socket: a, include: /b}}\n", "network.bird.socket: 'a' is not an absolute path"),
        (AGENT + "network: {backend: ipsec, ipsec: {secret: Keys}}\n", "'Keys' is no Secret's name"),
        (AGENT + "dns: {fastPath: on}\n", "dns.fast"),
        (AGENT + "dns: {fastPath: always}\n", "AgentConfiguration: dns.fastPath: 'always' is not known"),
        (AGENT + "dns: {corefile: /etc/Corefile}\n", "dns.corefile: '/etc/Corefile' is no NAMESPACE/NAME"),
        (AGENT + "network: {crossSubnet: true}\n", "network.crossSubnet: host-gw encapsulates nothing"),
        (AGENT + "network: {backend: bgp, overlay: host-gw}\n", "network.overlay: 'host-gw' encapsulates nothing"),
        (AGENT.replace("v1alpha1", "v9"), "apiVersion is 'clew.dev/v9'"),
        (AGENT + "---\n" + AGENT, "there twice"),
        ("kind: Pod\n", "'Pod'"),
        ("- 1\n", "kind None"),
        ("kind: [Pod]\n", "kind ['Pod']"),
        ("a: [\n", "not YAML"),
        (PROXY + "mode: kernelspace\n", "mode: 'kernelspace' is for Windows"),
        (PROXY + "mode: fast\n", "mode: 'fast' is not a mode"),
        (PROXY + "nftables: {sync: 5s}\n", "$.nftables"),
        (PROXY + "conntrack: 7\n", "$.conntrack"),
        (PROXY + "mode: iptables\nmode: ipvs\n", "the configuration has 'mode' twice in one place"),
        (PROXY + "ipvs: {scheduler: rr, scheduler: wrr}\n", "'scheduler' twice"),
        ('{"apiVersion": "clew.dev/v1alpha1", "kind": "AgentConfiguration", "mtu": 1400, "mtu": 0}', "'mtu' twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        agent_config.parse(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_go_durations() -> None:
    assert seconds("1m30s", "x") == 90
    assert seconds("0s", "x") == 0
    assert seconds("1.5h", "x") == 5400
    assert seconds("250ms", "x") == 0.25
    for wrong in ("", "5", "s", "1m 30s"):
        with pytest.raises(UserError, match="is not a duration"):
            seconds(wrong, "nftables.syncPeriod")
