"""What only nftables has to keep: the packet's priority, in which handles travel, is given back."""

from pathlib import Path

import pytest

from clew.dataplane.nftables.simulate import Outcome

from . import plan
from .modes import MODES
from .page import Section, flows_in, sections
from .simulated import outcomes, rendered
from .world import join

SECTIONS = [section for path in sorted(Path(__file__).parent.glob("*.md")) for section in sections(path)]


@pytest.mark.parametrize("section", [section for section in SECTIONS if section.flows], ids=str)
def test_the_priority_field_is_given_back(section: Section) -> None:
    for flow in flows_in(section, "nftables"):
        for outcome in outcomes(flow, lambda node, family: rendered(MODES["nftables"], section, node, family)):
            assert isinstance(outcome, Outcome)
            leaves = outcome.end == "goes on" and not plan.is_node(outcome.destination)
            if leaves and join(outcome.destination, outcome.port) != flow.to:
                assert outcome.priority == 0, flow
