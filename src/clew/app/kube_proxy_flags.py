"""kube-proxy's command line: each flag that it has on Linux, and the fields of KubeProxyConfiguration that it means.

The one table of them. cli/agent makes options of it, app/kube_proxy_command_line a document of what was given; it loads
nothing, since `--help` reads it. Source: kube-proxy 1.36, cmd/kube-proxy/app/options.go.
"""

from typing import Literal, NamedTuple

Kind = Literal["text", "number", "level", "real", "switch", "list", "duration", "pause", "gates", "levels"]


class Flag(NamedTuple):
    """`fields`: what it sets, by path; `counts`: also where the configuration file has a KubeProxyConfiguration."""

    name: str
    kind: Kind
    fields: tuple[str, ...]
    help: str
    counts: bool = False
    short: str = ""


GROUPS: dict[str, tuple[Flag, ...]] = {
    "Service proxy": (
        Flag("proxy-mode", "text", ("mode",), "nftables (default), iptables, ipvs, userspace or ebpf."),
        Flag(
            "nodeport-addresses", "list", ("nodePortAddresses",),
            "Ranges of node addresses with node ports, or primary.",
        ),
        Flag(
            "masquerade-all", "switch", ("iptables.masqueradeAll", "nftables.masqueradeAll"),
            "Servers see the node, whoever asks a cluster address.",
        ),
        Flag(
            "detect-local-mode", "text", ("detectLocalMode",),
            "ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix.",
        ),
        Flag(
            "cluster-cidr", "text", ("clusterCIDR",),
            "The range of all pods, one a family, with a comma between them.",
        ),
        Flag(
            "pod-bridge-interface", "text", ("detectLocal.bridgeInterface",),
            "With BridgeInterface: the bridge of the pods.",
        ),
        Flag(
            "pod-interface-name-prefix", "text", ("detectLocal.interfaceNamePrefix",),
            "With InterfaceNamePrefix: how the names of pods' links begin.",
        ),
        Flag("bind-address", "text", ("bindAddress",), "The node's primary address, if it is not its Node's first."),
        Flag("healthz-bind-address", "text", ("healthzBindAddress",), "Where probes are answered: 0.0.0.0:10256."),
        Flag("metrics-bind-address", "text", ("metricsBindAddress",), "Where metrics are: 127.0.0.1:10249."),
        Flag(
            "bind-address-hard-fail", "switch", ("bindAddressHardFail",),
            "Taken: a taken port always ends the agent.",
        ),
        Flag("hostname-override", "text", ("hostnameOverride",), "The Node's name.", counts=True),
        Flag("oom-score-adj", "number", ("oomScoreAdj",), "The agent's, -1000 to 1000."),
        Flag("feature-gates", "gates", ("featureGates",), "NAME=true,…: taken; nothing depends on them."),
        Flag("profiling", "switch", ("enableProfiling",), "Taken; there is no such page."),
        Flag(
            "show-hidden-metrics-for-version", "text", ("showHiddenMetricsForVersion",),
            "Taken; no metric is hidden.",
        ),
    ),
    "Modes iptables and nftables": (
        Flag(
            "iptables-masquerade-bit", "number", ("iptables.masqueradeBit",),
            "The bit of the mark, 0 to 31 (14); not in modes nftables and ebpf.",
        ),
        Flag(
            "iptables-sync-period", "duration", ("iptables.syncPeriod", "nftables.syncPeriod"),
            "Between looks at what others did to the rules (30s); not in mode ipvs.",
        ),
        Flag(
            "iptables-min-sync-period", "pause", ("iptables.minSyncPeriod", "nftables.minSyncPeriod"),
            "Least time between two syncs (iptables 1s, others 10ms); not in mode ipvs.",
        ),
        Flag(
            "iptables-localhost-nodeports", "switch", ("iptables.localhostNodePorts",),
            "Node ports on 127.0.0.1, too (true); mode iptables only.",
        ),
    ),
    "Mode ipvs": (
        Flag(
            "ipvs-scheduler", "text", ("ipvs.scheduler",),
            "rr (default), wrr, lc, wlc, sh, dh, sed, nq, mh and others.",
        ),
        Flag("ipvs-strict-arp", "switch", ("ipvs.strictARP",), "Only the link that has an address answers for it."),
        Flag(
            "ipvs-exclude-cidrs", "list", ("ipvs.excludeCIDRs",),
            "Virtual servers in these ranges are somebody else's.",
        ),
        Flag("ipvs-sync-period", "duration", ("ipvs.syncPeriod",), "As --iptables-sync-period."),
        Flag("ipvs-min-sync-period", "pause", ("ipvs.minSyncPeriod",), "As --iptables-min-sync-period."),
        Flag("ipvs-tcp-timeout", "duration", ("ipvs.tcpTimeout",), "Of idle TCP connections; 0s: the kernel's."),
        Flag(
            "ipvs-tcpfin-timeout", "duration", ("ipvs.tcpFinTimeout",),
            "Of TCP connections after a FIN; 0s: the kernel's.",
        ),
        Flag("ipvs-udp-timeout", "duration", ("ipvs.udpTimeout",), "Of UDP flows; 0s: the kernel's."),
    ),
    "Connection tracking": (
        Flag("conntrack-max-per-core", "number", ("conntrack.maxPerCore",), "Entries a core; 0: the kernel's limit."),
        Flag("conntrack-min", "number", ("conntrack.min",), "Entries at least, beside --conntrack-max-per-core."),
        Flag(
            "conntrack-tcp-timeout-established", "duration", ("conntrack.tcpEstablishedTimeout",),
            "Of idle connections; 0s: the kernel's.",
        ),
        Flag(
            "conntrack-tcp-timeout-close-wait", "duration", ("conntrack.tcpCloseWaitTimeout",),
            "Of half-closed connections; 0s: the kernel's.",
        ),
        Flag("conntrack-tcp-be-liberal", "switch", ("conntrack.tcpBeLiberal",), "No odd TCP packet counts as invalid."),
        Flag("conntrack-udp-timeout", "duration", ("conntrack.udpTimeout",), "Of unanswered flows; 0s: the kernel's."),
        Flag(
            "conntrack-udp-timeout-stream", "duration", ("conntrack.udpStreamTimeout",),
            "Of answered flows; 0s: the kernel's.",
        ),
    ),
    "API server": (
        Flag("kubeconfig", "text", ("clientConnection.kubeconfig",), "Instead of the service account's files."),
        Flag("kube-api-qps", "real", ("clientConnection.qps",), "Taken; there is no such limit."),
        Flag("kube-api-burst", "number", ("clientConnection.burst",), "Taken; there is no such limit."),
        Flag("kube-api-content-type", "text", ("clientConnection.contentType",), "Taken; it is JSON."),
        Flag("config-sync-period", "duration", ("configSyncPeriod",), "Taken; nothing is listed again without need."),
    ),
    "Logging": (
        Flag("v", "level", ("logging.verbosity",), "From 4 on the log tells more.", counts=True, short="v"),
        Flag("vmodule", "levels", ("logging.vmodule",), "PATTERN=LEVEL,…: taken; -v is for all of it.", counts=True),
        Flag("logging-format", "text", ("logging.format",), "Taken; it is text.", counts=True),
        Flag(
            "log-flush-frequency", "duration", ("logging.flushFrequency",),
            "Taken; nothing is held back.", counts=True,
        ),
    ),
}  # fmt: skip
FLAGS = {flag.name: flag for group in GROUPS.values() for flag in group}
