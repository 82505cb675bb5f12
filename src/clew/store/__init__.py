"""Facts in memory: one table a kind. Knows no kind, no Kubernetes and no kernel."""

from clew.store.table import Index, Key, StaleRevisionError, Table

__all__ = ["Index", "Key", "StaleRevisionError", "Table"]
