"""Benchmarks: `python -m bench`, or `make bench`; figures.py has the contract of a module."""
