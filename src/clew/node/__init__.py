"""What runs on every node: the agent, the CNI server, address management, health."""
