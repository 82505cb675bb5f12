"""Ports of the node that lead to pods (`hostPort`), by an nftables table of its own. See README.md."""
