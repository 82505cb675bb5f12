"""ICMP echo with a size that may not be cut: which packets arrive whole. `KernelEcho` asks, `FakeEcho` pretends."""

from clew.kernel.echo.fake import FakeEcho
from clew.kernel.echo.port import Echo, Reply
from clew.kernel.echo.real import KernelEcho

__all__ = ["Echo", "FakeEcho", "KernelEcho", "Reply"]
