"""A node's addresses: who chooses them, and on whose word (port.py)."""
