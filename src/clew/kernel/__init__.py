"""The only door to the kernel: one narrow port a facility, a fake beside each."""
