"""The modes in which every page plays, by name: the table that a new backend enters itself in."""

from collections.abc import Mapping

from .ebpf import Ebpf
from .iptables import Iptables
from .ipvs import Ipvs
from .nftables import Nftables
from .protocol import ModeUnderTest, Simulated
from .userspace import Userspace

MODES: Mapping[str, ModeUnderTest] = {
    "nftables": Nftables(),
    "iptables": Iptables(),
    "ipvs": Ipvs(),
    "userspace": Userspace(),
    "ebpf": Ebpf(),
}

__all__ = ["MODES", "ModeUnderTest", "Simulated"]
