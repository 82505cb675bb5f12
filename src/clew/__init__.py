"""Clew: Kubernetes cluster networking on the real Linux kernel, explained hop by hop."""

__version__ = "0.1.0"
