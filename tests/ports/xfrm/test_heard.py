"""Who took or changed what: heard from the kernel, and our own doings not counted."""

import select
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.ports.xfrm.test_xfrm import KEY, OUT, SENT, SIX, TAKEN

from clew.kernel import netns
from clew.kernel.xfrm import KernelXfrm, State, XfrmMonitor

from .conftest import IN_GUEST

pytestmark = pytest.mark.root


class Ears:
    def __init__(self, ns: Path) -> None:
        self.ns = ns
        self.ours, self.theirs = KernelXfrm(ns), KernelXfrm(ns)
        self._monitor = XfrmMonitor(lambda: self.ours.port, ns)

    def heard(self) -> bool:
        """The kernel tells before it answers who asked: nothing has to be waited for."""
        readable, _, _ = select.select([self._monitor], [], [], 0)
        return bool(readable) and self._monitor.drain()

    def close(self) -> None:
        for each in (self.ours, self.theirs, self._monitor):
            each.close()


@pytest.fixture
def ears(tmp_path: Path) -> Iterator[Ears]:
    ns = tmp_path / "heard"
    netns.create(ns)
    try:
        with closing(Ears(ns)) as made:
            yield made
    finally:
        netns.delete(ns)


def test_policies_that_somebody_takes_or_changes(ears: Ears) -> None:
    for policy in (SENT, TAKEN):
        ears.ours.put_policy(policy)
    ears.ours.put_policy(replace(SENT, priority=10), known=True)
    ears.ours.remove_policy(TAKEN)
    assert not ears.heard(), "what we do is not told to us"
    ears.theirs.put_policy(replace(SENT, priority=11), known=True)
    assert ears.heard()
    ears.theirs.remove_policy(SENT)
    assert ears.heard()
    assert not ears.heard(), "once"
    ears.theirs.put_policy(SENT)
    assert not ears.heard(), "what comes takes nothing"
    subprocess.run(["nsenter", f"--net={ears.ns}", "ip", "xfrm", "policy", "flush"], check=True, timeout=60)
    assert ears.heard()


if IN_GUEST:

    @pytest.mark.parametrize("state", [OUT, SIX], ids=lambda state: state.target)
    def test_states_that_somebody_takes(ears: Ears, state: State) -> None:
        ears.ours.add_state(state, KEY)
        ears.ours.remove_state(state)
        ears.ours.add_state(state, KEY)
        assert not ears.heard()
        ears.theirs.remove_state(state)
        assert ears.heard()
        ears.ours.add_state(state, KEY)
        subprocess.run(["nsenter", f"--net={ears.ns}", "ip", "xfrm", "state", "flush"], check=True, timeout=60)
        assert ears.heard()
