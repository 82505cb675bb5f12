"""The scheduler: which node a pod runs on. fit and affinity filter, score ranks, state counts, scheduler.py writes."""

from clew.cluster.scheduler.scheduler import run_scheduler

__all__ = ["run_scheduler"]
