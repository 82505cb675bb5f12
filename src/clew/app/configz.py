"""/configz: the service proxy's configuration in force, as kube-proxy shows its own on the metrics port.

The names are those of kube-proxy's internal type, which its page is made of; times are written as Go writes them. What
kube-proxy would fill with a default of its own and Clew leaves to the kernel is null. Pure; called by app/agent_proxy.
Source: k8s.io/kubernetes pkg/proxy/apis/config/types.go, k8s.io/component-base configz.
"""

from typing import Any

from clew.app.kube_proxy_config import USUAL_SYNC, KubeProxyConfiguration, seconds
from clew.node.proxy_settings import ProxySettings

GROUP = "kubeproxy.config.k8s.io"


def document(said: KubeProxyConfiguration, mode: str, settings: ProxySettings) -> dict[str, Any]:
    """`said` is the file, `settings` what was made of it."""
    client, windows, tracking = said.client_connection, said.winkernel, said.conntrack
    bit = settings.masquerade_mark.bit_length() - 1
    found = {
        "Linux": {
            "Conntrack": {
                "MaxPerCore": tracking.max_per_core,
                "Min": tracking.min,
                "TCPEstablishedTimeout": _same(tracking.tcp_established_timeout),
                "TCPCloseWaitTimeout": _same(tracking.tcp_close_wait_timeout),
                "TCPBeLiberal": tracking.tcp_be_liberal,
                "UDPTimeout": _same(tracking.udp_timeout),
                "UDPStreamTimeout": _same(tracking.udp_stream_timeout),
            },
            "MasqueradeAll": settings.masquerade_all,
            "OOMScoreAdj": said.oom_score_adj,
        },
        "Windows": {"RunAsService": said.window_runs_as_service},
        "FeatureGates": said.feature_gates,
        "ClientConnection": {
            "Kubeconfig": client.kubeconfig,
            "AcceptContentTypes": client.accept_content_types,
            "ContentType": client.content_type,
            "QPS": client.qps,
            "Burst": client.burst,
        },
        "Logging": said.logging or {},
        "HostnameOverride": said.hostname_override,
        "BindAddress": said.bind_address,
        "HealthzBindAddress": said.healthz,
        "MetricsBindAddress": said.metrics,
        "BindAddressHardFail": said.bind_address_hard_fail,
        "EnableProfiling": said.enable_profiling,
        "ShowHiddenMetricsForVersion": said.show_hidden_metrics_for_version,
        "Mode": mode,
        "IPTables": {"MasqueradeBit": bit, "LocalhostNodePorts": settings.localhost_node_ports},
        "IPVS": {
            "Scheduler": settings.ipvs.scheduler,
            "ExcludeCIDRs": list(settings.ipvs.exclude_cidrs),
            "StrictARP": settings.ipvs.strict_arp,
            "TCPTimeout": duration(settings.ipvs.tcp_timeout),
            "TCPFinTimeout": duration(settings.ipvs.tcp_fin_timeout),
            "UDPTimeout": duration(settings.ipvs.udp_timeout),
        },
        "Winkernel": {
            "NetworkName": windows.network_name,
            "SourceVip": windows.source_vip,
            "EnableDSR": windows.enable_dsr,
            "RootHnsEndpointName": windows.root_hns_endpoint_name,
            "ForwardHealthCheckVip": windows.forward_health_check_vip,
        },
        "NFTables": {"MasqueradeBit": bit},
        "DetectLocalMode": said.detect_local_mode or "ClusterCIDR",
        "DetectLocal": {
            "BridgeInterface": said.detect_local.bridge_interface,
            "ClusterCIDRs": list(settings.pod_cidrs),
            "InterfaceNamePrefix": said.detect_local.interface_name_prefix,
        },
        "NodePortAddresses": list(settings.node_port_addresses),
        "SyncPeriod": duration(settings.period),
        "MinSyncPeriod": duration(settings.least),
        "ConfigSyncPeriod": duration(seconds(said.config_sync_period, "configSyncPeriod") or seconds(USUAL_SYNC, "")),
    }
    return {GROUP: found}


def duration(length: float) -> str:
    """Seconds as Go prints a duration: `0s`, `10ms`, `1m30s`, `24h0m0s`."""
    if 0 < length < 1:
        return f"{length * 1e3:g}ms"
    minutes, rest = divmod(length, 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{rest:g}s"
    return f"{hours}h{minutes}m{tail}" if hours else f"{minutes}m{tail}" if minutes else tail


def _same(said: str) -> str:
    """A duration of the file, as Go prints it."""
    return duration(seconds(said, "conntrack"))
