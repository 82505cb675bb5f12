"""Work inside another network namespace, by descriptor: its links and its settings, in a thread of it.

The narrow way for whoever configures a pod's end of a link and must be testable without root: `Enter` is the port,
`enter` the real thing, `FakeInside` stands in for it.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from clew.kernel.netlink import Netlink, RtNetlink
from clew.kernel.netns import run_in
from clew.kernel.sysctl import FakeSysctl, Settings, Sysctl

T = TypeVar("T")
Work = Callable[[RtNetlink, Settings], T]


class Enter(Protocol):
    def __call__(self, ns: int, work: Work[T]) -> T:
        """What `work` returns; KernelError where the descriptor is of no namespace."""
        ...


def enter(ns: int, work: Work[T]) -> T:
    """Run `work` in a short-lived thread inside the namespace; about half a millisecond beside the work itself."""

    def inside() -> T:
        with Netlink() as kernel:
            return work(kernel, Sysctl())

    return run_in(ns, inside)


class FakeInside:
    """Namespaces in memory by descriptor, the mapping shared with the FakeNetlink whose links reach into them."""

    def __init__(self, namespaces: Mapping[int, RtNetlink]) -> None:
        self._namespaces = namespaces
        self.settings: dict[int, FakeSysctl] = {}

    def __call__(self, ns: int, work: Work[T]) -> T:
        return work(self._namespaces[ns], self.settings.setdefault(ns, FakeSysctl()))
