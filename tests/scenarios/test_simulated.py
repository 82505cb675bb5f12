"""Every page without a kernel, in every mode: its tables are what is rendered, its flows what the rules do."""

from pathlib import Path

import pytest

from .modes import MODES, Simulated
from .page import Flow, Section, Table, flows_in, rewrite, sections
from .simulated import MARK, Nodes, end, outcomes, rendered, seen

PAGES = sorted(Path(__file__).parent.glob("*.md"))
SECTIONS = [section for path in PAGES for section in sections(path)]
FLOWS = [(mode, section, flow) for section in SECTIONS for mode in MODES for flow in flows_in(section, mode)]


def nodes(mode: str, section: Section) -> Nodes:
    known: dict[tuple[str, int], Simulated] = {}

    def of(node: str, family: int) -> Simulated:
        if (node, family) not in known:
            known[node, family] = rendered(MODES[mode], section, node, family)
        return known[node, family]

    return of


def test_there_are_pages() -> None:
    assert len(PAGES) >= 8
    assert all(section.flows or not section.services for section in SECTIONS)


def test_a_difference_names_a_mode_that_is_there() -> None:
    named = {mode for section in SECTIONS for flow in section.flows for mode in flow.modes}
    assert named <= {*MODES, "nftables", "iptables", "ipvs", "userspace", "ebpf"}


@pytest.mark.parametrize(
    ("mode", "section", "flow"), FLOWS, ids=[f"{mode}:{section}:{flow.line}" for mode, section, flow in FLOWS]
)
def test_flow(mode: str, section: Section, flow: Flow) -> None:
    of = nodes(mode, section)
    found = outcomes(flow, of)
    assert tuple(sorted({end(flow, outcome) for outcome in found})) == flow.ends
    assert {seen(outcome) for outcome in found} == {flow.seen}
    for outcome in found:
        assert outcome.mark == MARK, "bits of the packet's mark that are not ours"
        if flow.same:
            assert {end(flow, again) for again in outcomes(flow, of, outcome.remembered)} == {end(flow, outcome)}


TABLES = [(section, table) for section in SECTIONS for table in section.tables if table.mode in MODES]


@pytest.mark.parametrize(("section", "table"), TABLES, ids=[f"{t.mode}:{s}:{t.node}:IPv{t.family}" for s, t in TABLES])
def test_table(section: Section, table: Table, request: pytest.FixtureRequest) -> None:
    text = rendered(MODES[table.mode], section, table.node, table.family).listing()
    if request.config.getoption("--accept") and text != table.text:
        rewrite(section.path, table.place, text)
        return
    assert table.text == text
