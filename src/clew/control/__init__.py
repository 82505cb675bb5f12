"""Cluster-wide loops, the same for lab and real clusters."""
