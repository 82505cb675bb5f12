"""Pods behind the node's address on their way out of the cluster, by an nftables table of its own. See README.md."""
