"""The physical network of a lab: a switch, a router, the nodes' and the outside host's cables, all in namespaces."""

from clew.cluster.fabric.build import build, remove
from clew.cluster.fabric.plan import Fabric, Host, plan

__all__ = ["Fabric", "Host", "build", "plan", "remove"]
