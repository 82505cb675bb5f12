"""Making the world as it should be: the difference, who owns what, and when to act. Knows no Kubernetes and no nft."""

from clew.reconcile.claims import Claims
from clew.reconcile.deltamap import DeltaMap
from clew.reconcile.pace import Pace, Turn

__all__ = ["Claims", "DeltaMap", "Pace", "Turn"]
