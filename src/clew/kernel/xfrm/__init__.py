"""IPsec's states and policies in the kernel: a port, the real thing, and a stand-in for tests."""

from clew.kernel.xfrm.fake import FakeXfrm
from clew.kernel.xfrm.monitor import XfrmMonitor
from clew.kernel.xfrm.port import Policy, State, Template, Xfrm
from clew.kernel.xfrm.real import KernelXfrm

__all__ = ["FakeXfrm", "KernelXfrm", "Policy", "State", "Template", "Xfrm", "XfrmMonitor"]
