"""What a KubeProxyConfiguration says once every default is filled in, and the file of it (`--write-config-to`).

Pure. A defaulted configuration means the same as the one that it was made of. What Clew leaves to the kernel or to its
supervisor where kube-proxy has a number of its own (connection tracking, oomScoreAdj) stays null. Called by app/agent.
Source: k8s.io/kubernetes pkg/proxy/apis/config/v1alpha1/defaults.go.
"""

from typing import TypeVar

import msgspec

from clew.app.configz import duration
from clew.app.kube_proxy_config import IPVS, USUAL_SYNC, IPTables, KubeProxyConfiguration, NFTables, seconds
from clew.app.kube_proxy_settings import MASQUERADE_BIT, SLOW
from clew.node.proxy_modes import DEFAULT
from clew.node.proxy_settings import LEAST, PERIOD

Paced = TypeVar("Paced", IPTables, NFTables, IPVS)


def complete(said: KubeProxyConfiguration) -> KubeProxyConfiguration:
    """Checked configuration in, the same with its defaults out."""
    mode = said.mode or DEFAULT
    replace = msgspec.structs.replace
    iptables, nftables = said.iptables, said.nftables
    return replace(
        said,
        bind_address=said.bind_address or "0.0.0.0",  # noqa: S104  kube-proxy's default; it binds nothing
        healthz_bind_address=said.healthz,
        metrics_bind_address=said.metrics,
        mode=mode,
        detect_local_mode=said.detect_local_mode or "ClusterCIDR",
        config_sync_period=_or(said.config_sync_period, seconds(USUAL_SYNC, "")),
        iptables=replace(
            _paced(iptables, SLOW.get(mode, LEAST)),
            masquerade_bit=_bit(iptables.masquerade_bit),
            localhost_node_ports=iptables.localhost_node_ports is not False,
        ),
        nftables=replace(_paced(nftables, LEAST), masquerade_bit=_bit(nftables.masquerade_bit)),
        ipvs=replace(_paced(said.ipvs, LEAST), scheduler=said.ipvs.scheduler or "rr"),
    )


def text(said: KubeProxyConfiguration) -> str:
    """As YAML, in the order of names, as kube-proxy writes it."""
    import yaml  # noqa: PLC0415 - only this needs it

    return str(yaml.safe_dump(msgspec.to_builtins(complete(said)), sort_keys=True))


def _paced(section: Paced, least: float) -> Paced:
    return msgspec.structs.replace(
        section, sync_period=_or(section.sync_period, PERIOD), min_sync_period=_or(section.min_sync_period, least)
    )


def _or(length: str, default: float) -> str:
    return length if seconds(length, "") else duration(default)


def _bit(said: int | None) -> int:
    return MASQUERADE_BIT if said is None else said
