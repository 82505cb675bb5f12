"""Control groups of labs that come while others go."""

import os
import threading

import pytest

from clew.cluster.runtime.supervisor import cgroups

pytestmark = pytest.mark.root


def test_a_group_is_made_whoever_takes_the_empty_one_above_away() -> None:
    """As a lab's end does: `/clew` was gone when the next lab's daemon made its own below it."""
    top = f"/clew-test-{os.getpid()}"
    over = threading.Event()

    def take_away() -> None:
        while not over.is_set():
            cgroups.remove_empty(top)

    beside = threading.Thread(target=take_away)
    beside.start()
    try:
        for _ in range(50):
            cgroups.make(f"{top}/lab")
            assert not cgroups.remove(f"{top}/lab")
    finally:
        over.set()
        beside.join()
        cgroups.remove(top)
