"""The catalogue: images that the lab makes itself, from the machine's own packages, in place of the ones asked for.

One module a stand-in: `build(tree, own) -> Recipe` fills a folder and says how its process starts and what it is. A
stand-in behaves as its original where a lesson or a test depends on it; it is not the original, and the pod is told.
"""

from clew.cluster.images.stand_ins.catalogue import CATALOGUE, StandIn, stand_in_for

__all__ = ["CATALOGUE", "StandIn", "stand_in_for"]
