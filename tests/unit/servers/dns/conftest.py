"""The fixture that runs a server, and the loop that the real one runs on; the material is in world.py."""

from collections.abc import Callable, Mapping

import pytest
import uvloop

from .world import running

__all__ = ["running"]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], uvloop.Loop]]:
    """A transport of uvloop is one of asyncio's by what it does, not by its class: TCP once was reset by a check."""
    del config, item
    return {"uvloop": uvloop.new_event_loop}
