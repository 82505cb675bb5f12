"""Nodes: a kubelet registers its node together with its status."""

from clew.api.objects import Object
from clew.cluster.apiserver.strategies.strategy import Strategy


class NodeStrategy(Strategy):
    def prepare_create(self, obj: Object) -> None:
        """The status stays."""
