"""Services as kube-proxy's own iptables chains, written chain by chain; see README.md."""
