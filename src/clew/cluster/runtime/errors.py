"""What a node can answer instead of doing what it was asked."""

from clew.base.errors import WorldError


class NodeError(WorldError):
    """The node's supervisor refused or failed one request; `number` is an errno or 0."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.number = number


class NodeLostError(NodeError):
    """The node has no supervisor (any more): it counts as powered off."""
