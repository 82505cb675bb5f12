"""Garbage collection: what outlived its owners goes, in the order that the deletion asked for.

graph.py knows who owns whom and decides; watching.py keeps it current for every kind served; controller.py writes.
"""

from clew.cluster.controllers.garbage.controller import GarbageController

__all__ = ["GarbageController"]
