"""Every page without a kernel: its tables are what is rendered, its flows what the rules do."""

from pathlib import Path

import pytest

from clew.dataplane.nftables.explain import Explainer

from . import plan
from .page import Flow, Section, Table, rewrite, sections
from .simulated import NodeTable, Tables, end, outcomes, rendered, seen

PAGES = sorted(Path(__file__).parent.glob("*.md"))
SECTIONS = [section for path in PAGES for section in sections(path)]
FLOWS = [(section, flow) for section in SECTIONS for flow in section.flows]


def tables(section: Section) -> Tables:
    known: dict[tuple[str, int], NodeTable] = {}

    def of(node: str, family: int) -> NodeTable:
        if (node, family) not in known:
            known[node, family] = rendered(section, node, family)
        return known[node, family]

    return of


def test_there_are_pages() -> None:
    assert len(PAGES) >= 8
    assert all(section.flows or not section.services for section in SECTIONS)


@pytest.mark.parametrize(("section", "flow"), FLOWS, ids=[f"{section}:{flow.line}" for section, flow in FLOWS])
def test_flow(section: Section, flow: Flow) -> None:
    of = tables(section)
    found = outcomes(flow, of)
    assert tuple(sorted({end(flow, outcome) for outcome in found})) == flow.ends
    assert {seen(outcome) for outcome in found} == {flow.seen}
    for outcome in found:
        assert outcome.mark == 0x2A, "bits of the packet's mark that are not ours"
        leaves = outcome.end == "goes on" and not plan.is_node(outcome.destination)
        assert not (leaves and outcome.priority), "the priority field is given back"
        if flow.same:
            known = {(number, client): slot for number, client, slot in outcome.remembered}
            assert {end(flow, again) for again in outcomes(flow, of, known)} == {end(flow, outcome)}


TABLES = [(section, table) for section in SECTIONS for table in section.tables]


@pytest.mark.parametrize(("section", "table"), TABLES, ids=[f"{s}:{t.node}:IPv{t.family}" for s, t in TABLES])
def test_table(section: Section, table: Table, request: pytest.FixtureRequest) -> None:
    node = rendered(section, table.node, table.family)
    rows = Explainer("ip6" if table.family == 6 else "ip", node.elements).rows()
    lines = ["| set | element | value |", "|---|---|---|"]
    lines += [f"| {row.set} | {row.key} | {row.value} |".replace("|  |", "| |") for row in rows]
    text = "\n".join(lines) + "\n"
    if request.config.getoption("--accept") and text != table.text:
        rewrite(section.path, table.place, text)
        return
    assert table.text == text
