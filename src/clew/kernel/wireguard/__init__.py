"""WireGuard devices by the kernel's generic netlink: a port, the real thing, and a stand-in for tests."""

from clew.kernel.wireguard.fake import FakeWireGuard
from clew.kernel.wireguard.port import Device, Peer, WireGuard
from clew.kernel.wireguard.real import KernelWireGuard

__all__ = ["Device", "FakeWireGuard", "KernelWireGuard", "Peer", "WireGuard"]
