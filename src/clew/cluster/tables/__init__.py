"""What `kubectl get` prints: the server's own columns and cells for every kind, as meta.k8s.io/v1 Tables."""

from clew.cluster.tables.table import table

__all__ = ["table"]
