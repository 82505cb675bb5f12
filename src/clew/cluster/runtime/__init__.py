"""What a node runs its containers with: a small supervisor process, runc, and the daemon's handle on both.

The names below are loaded when asked for: the supervisor lives in this package too and must stay small.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clew.cluster.runtime.handle import NodeHandle
    from clew.cluster.runtime.settings import NodeSettings

__all__ = ["NodeHandle", "NodeSettings"]


def __getattr__(name: str) -> Any:
    if name == "NodeHandle":
        from clew.cluster.runtime.handle import NodeHandle  # noqa: PLC0415  # see the module's docstring

        return NodeHandle
    if name == "NodeSettings":
        from clew.cluster.runtime.settings import NodeSettings  # noqa: PLC0415  # see the module's docstring

        return NodeSettings
    raise AttributeError(name)
