"""DaemonSets: one pod a node. placement, revisions, rollout and status decide; controller.py writes."""

from clew.cluster.controllers.daemonset.controller import DaemonSetController

__all__ = ["DaemonSetController"]
