"""Composition roots: configuration to running objects, one page a program."""
