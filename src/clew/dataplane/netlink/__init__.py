"""Pods and nodes linked by the kernel's own bridge, veth pairs and routes. README.md tells how it looks on a node."""
