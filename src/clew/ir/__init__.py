"""Desired network state in neutral words; every value carries its origin. Knows neither Kubernetes nor a kernel."""
