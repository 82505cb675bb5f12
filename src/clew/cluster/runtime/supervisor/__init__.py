"""The process that is a node: holder of its namespaces, parent of its containers, writer of their logs.

Process 1 of the node's own process namespace, so that killing it is pulling the node's plug. It decides nothing: a
kubelet tells it what to run, and may go away and come back. Standard library only, one thread, one epoll loop; started
by NodeHandle as `python -m clew.cluster.runtime.supervisor`.
"""
