"""The DNS server: wire format, zones in memory, the Corefile and its plugins.

It knows names and packets, not Kubernetes: the cluster's records are fed into a `Zone` from outside (app.dns).
"""
