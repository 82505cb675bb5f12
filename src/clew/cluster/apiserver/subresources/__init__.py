"""Subresources: parts of an object with a request of their own, one module a matter."""
