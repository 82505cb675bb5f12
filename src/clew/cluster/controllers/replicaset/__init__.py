"""ReplicaSets: as many pods as asked for. plan.py decides, controller.py writes."""

from clew.cluster.controllers.replicaset.controller import ReplicaSetController

__all__ = ["ReplicaSetController"]
