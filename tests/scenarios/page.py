"""A scenario page: Markdown in which yaml blocks are facts, table blocks kernel elements, flow blocks what packets do.

Sections (##) are independent; what stands before the first belongs to all. A `flow` block is for every mode. A block
`flow ipvs userspace` is for these modes only, and each of its rows stands there in place of the common row with the
same client and target; the text before it says why the mode differs. In a mode that is a proxy of connections
every server sees the node, and no page says so again. `table iptables node-1 IPv4` is a table of another mode than
nftables.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from clew.facts import endpointslice, service
from clew.facts.endpointslice import EndpointSlice
from clew.facts.service import Service

PROXIES = {"userspace"}
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Flow:
    """One row: whoever connects from `source` to `to` ends at one of `ends` and is seen as `seen`."""

    source: str  # pod/a, node/node-1, outside, outside/2
    to: str  # address:port
    protocol: str
    ends: tuple[str, ...]  # "10.244.1.10:8080"; ("REFUSED",) or ("DROPPED",)
    same: bool  # session affinity: always the same of them
    seen: str  # kept, node, or "" where nobody sees it
    line: int
    modes: tuple[str, ...] = ()  # (): all

    def __str__(self) -> str:
        return f"{self.source} to {self.to}/{self.protocol} (line {self.line})"


@dataclass
class Table:
    mode: str
    node: str
    family: int
    text: str
    place: int  # among the tables of its page


@dataclass
class Section:
    path: Path
    title: str
    settings: dict[str, Any]
    documents: list[dict[str, Any]] = field(default_factory=list)  # what is there for the API server, as it is written
    services: list[Service] = field(default_factory=list)
    slices: list[EndpointSlice] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.path.stem}/{self.title}"


def sections(path: Path) -> list[Section]:
    text = path.read_text()
    starts = [match.start() for match in re.finditer(r"^## ", text, re.MULTILINE)]
    common = _section(path, text, 0, starts[0] if starts else len(text))
    if not starts:
        return [common]
    found = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        one = _section(path, text, start, end)
        one.documents = common.documents + one.documents
        one.services = common.services + one.services
        one.slices = common.slices + one.slices
        one.settings = common.settings | one.settings
        found.append(one)
    return found


def flows_in(section: Section, mode: str) -> list[Flow]:
    """What packets do in one mode: the rows for all, but for those that the mode has rows of its own for."""
    own = [_as_seen(flow, mode) for flow in section.flows if mode in flow.modes]
    instead = {(flow.source, flow.to, flow.protocol) for flow in own}
    return [
        _as_seen(flow, mode)
        for flow in section.flows
        if not flow.modes and (flow.source, flow.to, flow.protocol) not in instead
    ] + own


def _as_seen(flow: Flow, mode: str) -> Flow:
    served = flow.ends not in {("NOT OURS",), (flow.to,)}
    return replace(flow, seen="node") if mode in PROXIES and served and flow.seen == "kept" else flow


def rewrite(path: Path, place: int, table: str) -> None:
    """Put another text into one table of a page."""
    text = path.read_text()
    block = [block for block in FENCE.finditer(text) if block[1] == "table"][place]
    path.write_text(text[: block.start(3)] + table + text[block.end(3) :])


def _section(path: Path, text: str, start: int, end: int) -> Section:
    title = text[start:end].partition("\n")[0].strip("# ").lower().replace(" ", "-")
    section = Section(path, title, {})
    for block in FENCE.finditer(text, start, end):
        kind, argument, body = block.groups()
        if kind == "yaml":
            for document in yaml.safe_load_all(body):
                _take(section, document)
        elif kind == "table":
            *mode, node, family = argument.split()
            place = text.count("\n```table ", 0, block.start() - 1)
            number = int(family.removeprefix("IPv"))
            section.tables.append(Table(mode[0] if mode else "nftables", node, number, body, place))
        elif kind == "flow":
            section.flows += _flows(body, text.count("\n", 0, block.start(3)) + 1, tuple(argument.split()))
    return section


def _take(section: Section, document: dict[str, Any]) -> None:
    match document["kind"]:
        case "Service":
            document["metadata"].setdefault("namespace", "default")
            section.documents.append({"apiVersion": "v1", **document})
            section.services.append(service.from_api(document))
        case "EndpointSlice":
            document["metadata"].setdefault("namespace", "default")
            section.documents.append({"apiVersion": "discovery.k8s.io/v1", **document})
            section.slices.append(endpointslice.from_api(document))
        case "Settings":
            section.settings |= {key: value for key, value in document.items() if key != "kind"}
        case other:
            raise ValueError(f"{section.path}: kind {other}")


def _flows(body: str, first: int, modes: tuple[str, ...]) -> Iterator[Flow]:
    for number, row in enumerate(body.splitlines()):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if len(cells) != 5 or cells[0] == "from" or not cells[0].strip("-"):
            continue
        source, to, protocol, ends, seen = cells
        same = ends.startswith("same of ")
        listed = tuple(sorted(end.strip() for end in ends.removeprefix("same of ").split(",")))
        yield Flow(source, to, protocol, listed, same, seen, first + number, modes)
