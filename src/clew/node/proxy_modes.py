"""The modes of the service proxy, by the names that KubeProxyConfiguration.mode and `--proxy-mode` have for them.

This table is the only place that knows which modes there are.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from clew.base.errors import UserError
from clew.dataplane.ebpf import apply as ebpf
from clew.dataplane.ebpf.objects import TABLES
from clew.dataplane.ebpf.render import is_left_to_tables
from clew.dataplane.iptables import apply as iptables
from clew.dataplane.ipvs import apply as ipvs
from clew.dataplane.nftables import apply as nftables
from clew.dataplane.userspace import apply as userspace
from clew.ir.proxying import Settings
from clew.node.proxy_backend import Mode
from clew.node.proxy_joint import joined

DEFAULT = "nftables"
EBPF = joined(ebpf.open_backends, partial(nftables.open_backends, table=TABLES), is_left_to_tables)
MODES: Mapping[str, Mode] = {
    "nftables": Mode(nftables.open_backends, nftables.missing),
    "iptables": Mode(iptables.open_backends, iptables.missing),
    "ipvs": Mode(ipvs.open_backends, ipvs.missing),
    "userspace": Mode(userspace.open_backends, userspace.missing),
    "ebpf": Mode(EBPF, ebpf.missing),
}


def mode(name: str, where: Path | None = None) -> Mode:
    """The mode of this name ("": the default); UserError where there is none, or where this machine cannot run it."""
    chosen = name or DEFAULT
    if chosen not in MODES:
        raise UserError(f"{chosen!r} is not a mode of the service proxy", f"use one of: {', '.join(MODES)}")
    lacking = MODES[chosen].missing(where)
    if lacking:
        raise UserError(f"mode {chosen}: {lacking}", "or choose another mode; none is taken in its place")
    return MODES[chosen]


def remove_others(chosen: str, where: Path | None = None) -> None:
    """Take away what any other mode left in this network namespace, in both families, and a kube-proxy's own table.

    The chains and sets of kube-proxy's other modes have the names of ours, and go or are taken over with them.
    """
    nftables.remove_kube_proxys(where)
    for name in MODES:
        if name != (chosen or DEFAULT):
            remove(name, where)


def remove(name: str, where: Path | None = None) -> None:
    """Take away what one mode left, in both families."""
    for backend in MODES[name].open(where, (Settings(4), Settings(6))):
        try:
            backend.remove()
        finally:
            backend.close()


def remove_all(where: Path | None = None) -> None:
    """Take away what any mode left (kube-proxy's --cleanup)."""
    nftables.remove_kube_proxys(where)
    for name in MODES:
        remove(name, where)
