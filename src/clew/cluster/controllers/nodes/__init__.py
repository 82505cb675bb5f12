"""What concerns nodes: their pod ranges (ipam), their life and death (lifecycle), pods left behind (pod_gc)."""

from clew.cluster.controllers.nodes.ipam_controller import NodeIpamController
from clew.cluster.controllers.nodes.lifecycle_controller import NodeLifecycleController, TaintEvictionController
from clew.cluster.controllers.nodes.pod_gc import PodGarbageController

__all__ = ["NodeIpamController", "NodeLifecycleController", "PodGarbageController", "TaintEvictionController"]
