"""One guest for all tests of the lane: booted at the first that asks for it, gone when they are over."""

import sys
from collections.abc import Iterator

import pytest
from tests.vm.guest import Guest, Stream


@pytest.fixture(scope="session")
def guest(pytestconfig: pytest.Config) -> Iterator[Guest]:
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def show(_stream: Stream, line: str) -> None:
        """Past pytest's capture: what runs in the guest takes long and is watched."""
        with capture.global_and_fixture_disabled():
            sys.stdout.write(f"  guest: {line[:160]}\n")

    with Guest(show) as running:
        yield running
