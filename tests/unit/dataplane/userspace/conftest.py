"""Ports of this test process alone: a name leads to the same port in every run, and others may be on the machine."""

import os

import pytest

from clew.dataplane.userspace import forwarder

EACH = 50


@pytest.fixture(autouse=True)
def _ports(monkeypatch: pytest.MonkeyPatch) -> None:
    first = 20000 + os.getpid() % 200 * EACH
    monkeypatch.setattr(forwarder, "PORTS", range(first, first + EACH))
