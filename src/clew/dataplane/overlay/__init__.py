"""Tunnels between nodes by the kernel's own VXLAN and IPIP devices. README.md tells how they look on a node."""
