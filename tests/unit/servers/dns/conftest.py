"""The fixture that runs a server; its material is in world.py."""

from .world import running

__all__ = ["running"]
