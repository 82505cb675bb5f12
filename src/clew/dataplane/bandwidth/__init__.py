"""Pods' rates: token buckets at the node's ends of their links. README.md has the picture."""
