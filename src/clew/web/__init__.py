"""Read-only pages over the same tables."""
