"""IPVS: the kernel's own load balancer, virtual servers with real servers behind them.

`Ipvs` is the port, `KernelIpvs` the real thing over generic netlink, `FakeIpvs` the one that tests use; one suite runs
on both.
"""

from clew.kernel.ipvs.fake import FakeIpvs
from clew.kernel.ipvs.port import (
    Change,
    Delete,
    DeleteReal,
    Ipvs,
    IpvsError,
    Put,
    PutReal,
    RealServer,
    Timeouts,
    VirtualKey,
    VirtualServer,
)
from clew.kernel.ipvs.real import KernelIpvs, missing

__all__ = [
    "Change",
    "Delete",
    "DeleteReal",
    "FakeIpvs",
    "Ipvs",
    "IpvsError",
    "KernelIpvs",
    "Put",
    "PutReal",
    "RealServer",
    "Timeouts",
    "VirtualKey",
    "VirtualServer",
    "missing",
]
