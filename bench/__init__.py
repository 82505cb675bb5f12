"""Benchmarks: each module prints ratios against a baseline of the same run; `python -m bench.NAME` as root."""
