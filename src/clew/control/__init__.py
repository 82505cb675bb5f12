"""Where cluster-wide loops will stand that are the same for lab and real clusters. Nothing yet."""
