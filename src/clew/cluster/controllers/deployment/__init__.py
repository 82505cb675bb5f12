"""Deployments: ReplicaSets that follow each other. rollout, revisions and status decide, controller.py writes."""

from clew.cluster.controllers.deployment.controller import DeploymentController

__all__ = ["DeploymentController"]
