"""What this mode has in the kernel, as values: entries of maps, rules in nftables, and the devices that they speak of.

Pure; rendered by programme, read back by apply, run by simulate.
"""

from collections.abc import Mapping

from clew.base.addresses import Family
from clew.base.value import Value
from clew.dataplane.ebpf.layout import Maps

TABLE = "clew-ebpf"  # by this name a restarted agent knows its own
TABLES = "clew-ebpf-services"  # the table of what programs leave to nftables (node/proxy_modes)
Chains = Mapping[str, tuple[str, ...]]  # rules as nft prints them, by chain


class Device(Value):
    """A device of the node. `shown`: the name by which its packets are known, for a bridge's port the bridge's."""

    index: int
    name: str
    shown: str
    guarded: bool = True  # whether packets that arrive there are looked at: not on loopback, and on a bridge's ports


class Surface(Value):
    """What the node looks like at present: on what rules depend beside settings."""

    devices: tuple[Device, ...] = ()
    addresses: tuple[str, ...] = ()  # of both families, without loopback's
    cookie: int = 0


class State(Value):
    """One family's part of the kernel."""

    family: Family
    maps: Maps
    chains: Chains
    devices: Mapping[int, str]  # the names by which packets of devices are known
