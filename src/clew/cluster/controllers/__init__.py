"""The controllers of the lab, as kube-controller-manager's: each keeps one kind of promise. run.py starts them all."""

from clew.cluster.controllers.context import ControllerOptions
from clew.cluster.controllers.run import run_controllers

__all__ = ["ControllerOptions", "run_controllers"]
