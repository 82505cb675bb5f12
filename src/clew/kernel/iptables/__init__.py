"""iptables: the kernel's older tables of rules, through the programs that everybody uses for them.

`Iptables` is the port, `KernelIptables` the real thing, `FakeIptables` the one that tests use; one suite runs on both.
"""

from clew.kernel.iptables import alternatives
from clew.kernel.iptables.fake import FakeIptables
from clew.kernel.iptables.port import Iptables, IptablesError
from clew.kernel.iptables.real import KernelIptables

__all__ = ["FakeIptables", "Iptables", "IptablesError", "KernelIptables", "alternatives"]
