"""Seeing: trace, flows, explain, metrics."""
