"""What is particular to a kind when it is written: one module a kind that has more than the common rules."""

from clew.cluster.apiserver.strategies.strategy import Claim, Strategy
from clew.cluster.apiserver.strategies.table import Strategies

__all__ = ["Claim", "Strategies", "Strategy"]
