"""The eBPF backend of the service proxy. Its README says what it puts into the kernel."""
