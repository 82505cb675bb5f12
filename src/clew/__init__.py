"""Clew: Kubernetes cluster networking, whole, on the real Linux kernel."""

__version__ = "0.1.0"
