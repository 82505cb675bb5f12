"""`kind: KubeProxyConfiguration` (kubeproxy.config.k8s.io/v1alpha1) as Clew takes it: every field of kube-proxy 1.37.

A field that kube-proxy does not have is refused by its path, and so is a mode that is not there. A field that Clew does
not act on is taken, for the sake of files that spell out the defaults; `ignored` names those that say something else.

Source: k8s.io/kube-proxy/config/v1alpha1/types.go.
"""

import re
from typing import Any

import msgspec

from clew.app.section import Section
from clew.base.errors import UserError
from clew.node.proxy_modes import MODES

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"

EVERYWHERE = "0.0.0.0"  # noqa: S104  kube-proxy's default for probes
USUAL_SYNC = "15m0s"  # kube-proxy's configSyncPeriod where nobody says another

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class FieldError(UserError):
    """A field that does not hold: `field` is its path, `what` the message without it."""

    def __init__(self, field: str, what: str, remedy: str) -> None:
        super().__init__(f"{KIND}: {field}: {what}", remedy)
        self.field, self.what = field, what


class ClientConnection(Section):
    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = ""
    qps: float = 0
    burst: int = 0


class IPTables(Section):
    masquerade_bit: int | None = None
    masquerade_all: bool = False
    localhost_node_ports: bool | None = None
    sync_period: str = "0s"
    min_sync_period: str = "0s"


class NFTables(Section):
    masquerade_bit: int | None = None
    masquerade_all: bool = False
    sync_period: str = "0s"
    min_sync_period: str = "0s"


class IPVS(Section):
    sync_period: str = "0s"
    min_sync_period: str = "0s"
    scheduler: str = ""
    exclude_cidrs: list[str] | None = msgspec.field(default=None, name="excludeCIDRs")
    strict_arp: bool = msgspec.field(default=False, name="strictARP")
    tcp_timeout: str = "0s"
    tcp_fin_timeout: str = "0s"
    udp_timeout: str = "0s"


class WinKernel(Section):
    network_name: str = ""
    source_vip: str = ""
    enable_dsr: bool = msgspec.field(default=False, name="enableDSR")
    root_hns_endpoint_name: str = ""
    forward_health_check_vip: bool = msgspec.field(default=False, name="forwardHealthCheckVip")


class DetectLocal(Section):
    bridge_interface: str = ""
    interface_name_prefix: str = ""


class Conntrack(Section):
    max_per_core: int | None = None
    min: int | None = None
    tcp_established_timeout: str = "24h0m0s"
    tcp_close_wait_timeout: str = "1h0m0s"
    tcp_be_liberal: bool = False
    udp_timeout: str = "0s"
    udp_stream_timeout: str = "0s"


class KubeProxyConfiguration(Section):
    api_version: str = API_VERSION
    kind: str = KIND
    feature_gates: dict[str, bool] | None = None
    client_connection: ClientConnection = msgspec.field(default_factory=ClientConnection)
    logging: dict[str, Any] | None = None
    hostname_override: str = ""
    bind_address: str = ""
    healthz_bind_address: str = ""
    metrics_bind_address: str = ""
    bind_address_hard_fail: bool = False
    enable_profiling: bool = False
    show_hidden_metrics_for_version: str = ""
    mode: str = ""
    iptables: IPTables = msgspec.field(default_factory=IPTables)
    ipvs: IPVS = msgspec.field(default_factory=IPVS)
    winkernel: WinKernel = msgspec.field(default_factory=WinKernel)
    nftables: NFTables = msgspec.field(default_factory=NFTables)
    detect_local_mode: str = ""
    detect_local: DetectLocal = msgspec.field(default_factory=DetectLocal)
    cluster_cidr: str = msgspec.field(default="", name="clusterCIDR")
    node_port_addresses: list[str] | None = None
    oom_score_adj: int | None = None
    conntrack: Conntrack = msgspec.field(default_factory=Conntrack)
    config_sync_period: str = "0s"
    port_range: str = ""
    window_runs_as_service: bool = msgspec.field(default=False, name="windowsRunAsService")

    @property
    def healthz(self) -> str:
        """Where to answer probes, `host:port`."""
        return _with_port(self.healthz_bind_address or ("[::]" if ":" in self.bind_address else EVERYWHERE), 10256)

    @property
    def metrics(self) -> str:
        return _with_port(self.metrics_bind_address or ("[::1]" if ":" in self.bind_address else "127.0.0.1"), 10249)

    @property
    def verbosity(self) -> int:
        """Of the log, as klog counts it."""
        said = (self.logging or {}).get("verbosity", 0)
        return said if isinstance(said, int) else 0

    @property
    def ignored(self) -> tuple[str, ...]:
        """Fields with a value of their own on which nothing depends."""
        acted_on = {"apiVersion", "kind", "clientConnection", "healthzBindAddress", "metricsBindAddress", "mode"}
        acted_on |= {"nftables", "iptables", "ipvs", "clusterCIDR", "nodePortAddresses", "hostnameOverride"}
        acted_on |= {"detectLocalMode", "detectLocal", "conntrack", "oomScoreAdj"}
        acted_on |= {"bindAddress", "logging"}
        default = KubeProxyConfiguration()
        usual: tuple[Any, ...] = ([], {}, USUAL_SYNC)
        names = zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True)
        said = (name for field, name in names if getattr(self, field) not in (getattr(default, field), *usual))
        return tuple(sorted(name for name in said if name not in acted_on))


def parse(document: Any) -> KubeProxyConfiguration:
    """A decoded document as a checked configuration; UserError names the field."""
    try:
        found = msgspec.convert(without_nulls(document), KubeProxyConfiguration)
    except msgspec.ValidationError as wrong:
        raise UserError(f"{KIND}: {wrong}", "see kube-proxy's configuration reference") from wrong
    if found.mode not in {"", *MODES}:
        reason = "is for Windows nodes" if found.mode == "kernelspace" else "is not a mode of the service proxy"
        raise FieldError("mode", f"{found.mode!r} {reason}", f"use {' or '.join(MODES)}, or leave it empty")
    return found


def without_nulls(document: Any) -> Any:
    """A null says nothing about a field, as in Go."""
    if not isinstance(document, dict):
        return document
    return {name: without_nulls(value) for name, value in document.items() if value is not None}


def seconds(duration: str, field: str) -> float:
    """Go's notation (`1m30s`, `0s`) in seconds; UserError names the field."""
    parts = _DURATION.findall(duration)
    whole = "".join(number + unit for number, unit in parts) == duration.removeprefix("+")
    if duration != "0" and not (parts and whole):
        raise FieldError(field, f"{duration!r} is not a duration", "write it as 30s, 1m30s or 500ms")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _with_port(address: str, port: int) -> str:
    """`1.2.3.4` and `::1` get the port; what has one keeps it."""
    if address.startswith("["):
        return address if "]:" in address else f"{address}:{port}"
    if address.count(":") > 1:
        return f"[{address}]:{port}"
    return address if ":" in address else f"{address}:{port}"
