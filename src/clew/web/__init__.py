"""Where read-only pages over the tables will stand. Nothing yet."""
