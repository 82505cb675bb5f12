"""ipset: named sets of addresses, ports and prefixes that iptables rules match against.

`IpSets` is the port, `KernelIpSets` the real thing over nfnetlink, `FakeIpSets` the one that tests use; one suite runs
on both.
"""

from clew.kernel.ipset.fake import FakeIpSets
from clew.kernel.ipset.port import IpSet, IpSetError, IpSets, Kind
from clew.kernel.ipset.real import KernelIpSets

__all__ = ["FakeIpSets", "IpSet", "IpSetError", "IpSets", "KernelIpSets", "Kind"]
