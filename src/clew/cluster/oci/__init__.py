"""What runs containers on a node by an OCI runtime: the node's supervisor process, and the daemon's handle on it.

The supervisor (`supervisor.py` and what it imports) is standard library only and knows no Kubernetes.
"""
