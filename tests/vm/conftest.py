"""One guest for all tests of the lane: booted at the first that asks for it, gone when they are over."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.vm.guest import Guest, Stream


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No limit from outside: whatever runs in the guest has one of its own, which grows with how slow the guest is."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def guest(pytestconfig: pytest.Config) -> Iterator[Guest]:
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    started = time.monotonic()

    def show(_stream: Stream, line: str) -> None:
        """Past pytest's capture: what runs in the guest takes long and is watched."""
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        with capture.global_and_fixture_disabled():
            sys.stdout.write(f"  guest {minutes}:{seconds:02}: {line[:160]}\n")
            sys.stdout.flush()

    with Guest(show) as running:
        yield running
