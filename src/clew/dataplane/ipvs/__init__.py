"""Services on IPVS: virtual servers on the addresses of kube-ipvs0, ipsets and a few fixed rules. See README.md."""
