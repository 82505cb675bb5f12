"""Small changes to a YAML text that leave everything else as it is written: comments, order, scalars, style, JSON.

A document is a mapping; its fields are scalars or lists. Each function takes the text, finds the place by the parser's
own marks and gives the changed text. Not a YAML writer: what is put in is written in block style in a block, and as
JSON in a flow. Called by app/kubeconfig.
"""

import json
import re
from typing import Any

import yaml

_NULL = "tag:yaml.org,2002:null"
_ESCAPED = re.compile("[\x7f\x85\u2028\u2029\ufeff]")  # JSON takes them as they are, YAML does not


class BrokenError(Exception):
    """The text is not what it should be; the message says where."""


def parse(text: str) -> yaml.MappingNode:
    """The one document's nodes with their marks; a text without a document is an empty mapping. BrokenError."""
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        aliases = [token for token in yaml.scan(text) if isinstance(token, yaml.AliasToken)] if "*" in text else []
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise BrokenError(f"{where}{getattr(error, 'problem', None) or 'not YAML'}") from None
    if aliases:
        raise BrokenError(f"line {aliases[0].start_mark.line + 1}: an alias; write out what it stands for")
    if not documents or is_null(documents[0]):
        return yaml.MappingNode("tag:yaml.org,2002:map", [], flow_style=False)
    if len(documents) > 1:
        raise BrokenError("more than one document")
    if not isinstance(documents[0], yaml.MappingNode):
        raise BrokenError("not a mapping")
    return documents[0]


def is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def value(top: yaml.MappingNode, field: str) -> yaml.Node | None:
    """A field's node; None where it is not there."""
    return next((item for key, item in top.value if key.value == field), None)


def set_value(text: str, field: str, scalar: str | None) -> str:
    """The field with this text, or null; put last where it is not there."""
    top = parse(text)
    found = value(top, field)
    said = _json(scalar) if top.flow_style else _plain(scalar)
    if found is None:
        return _add_field(text, top, field, said)
    start, end = _span(text, found)
    if isinstance(found, yaml.SequenceNode) and not found.flow_style:
        start = _after_key(text, top, field)
    return text[:start] + _apart(text, start) + said + text[end:]


def drop(text: str, field: str) -> str:
    """Without the field."""
    top = parse(text)
    at = next((at for at, (key, _) in enumerate(top.value) if key.value == field), None)
    if at is None:
        return text
    spans = [(_span(text, key)[0], _span(text, item)[1]) for key, item in top.value]
    if top.flow_style:
        return _cut_flow(text, top, spans, at)
    start, end = spans[at]
    return text[: _line(text, start)] + text[_next_line(text, end) :]


def append(text: str, field: str, item: dict[str, Any]) -> str:
    """With one more item at the end of the field's list; null and a missing field are empty lists."""
    top = parse(text)
    found = value(top, field)
    flow = _json(item)
    if found is None:
        if top.flow_style:
            return _add_field(text, top, field, f"[{flow}]")
        return append(_add_field(text, top, field, ""), field, item)
    start, end = _span(text, found)
    items = found.value if isinstance(found, yaml.SequenceNode) else []
    if top.flow_style or (isinstance(found, yaml.SequenceNode) and items and found.flow_style):
        if items:
            last = _span(text, items[-1])[1]
            return f"{text[:last]}, {flow}{text[last:]}"
        return f"{text[:start]}{_apart(text, start)}[{flow}]{text[end:]}"
    if not items:
        head = text[:start].rstrip(" ")
        text = head + text[end:]
        column, at = top.start_mark.column, _next_line(text, len(head))
    else:
        column, at = found.start_mark.column, _next_line(text, end)
    lines = yaml.safe_dump([item], sort_keys=False, width=1 << 30, allow_unicode=True).splitlines()
    return _insert_lines(text, at, [" " * column + line for line in lines])


def remove(text: str, field: str, at: int) -> str:
    """Without one item of the field's list; the last one leaves `[]`."""
    top = parse(text)
    found = value(top, field)
    assert isinstance(found, yaml.SequenceNode)  # noqa: S101 - the caller has read the list
    spans = [_span(text, each) for each in found.value]
    if found.flow_style:
        return _cut_flow(text, found, spans, at)
    begin = _next_line(text, spans[at - 1][1]) if at else _line(text, found.start_mark.index)
    dash = re.compile(rf"^ {{{found.start_mark.column}}}-", re.MULTILINE).search(text, begin)
    start = dash.start() if dash else begin
    text = text[:start] + text[_next_line(text, spans[at][1]) :]
    if len(spans) == 1:
        place = _after_key(text, top, field)
        text = f"{text[:place]} []{text[place:]}"
    return text


def _json(value: Any) -> str:
    """JSON that is YAML too: a pair of surrogates, JSON's way beyond U+FFFF, is two letters in YAML."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def _add_field(text: str, top: yaml.MappingNode, field: str, said: str) -> str:
    if top.flow_style:
        written = f"{_json(field)}: {said}"
        if not top.value:
            return text[: top.start_mark.index + 1] + written + text[top.end_mark.index - 1 :]
        last = _span(text, top.value[-1][1])[1]
        return f"{text[:last]}, {written}{text[last:]}"
    line = f"{field}: {said}".rstrip()
    if not top.value:
        return _insert_lines(text, len(text), [line])
    last = _span(text, top.value[-1][1])[1]
    return _insert_lines(text, _next_line(text, last), [" " * top.start_mark.column + line])


def _cut_flow(text: str, node: yaml.CollectionNode, spans: list[tuple[int, int]], at: int) -> str:
    """A flow collection without one of its parts and without the comma that belonged to it."""
    if len(spans) == 1:
        start, end = node.start_mark.index + 1, node.end_mark.index - 1
    elif at:
        start, end = spans[at - 1][1], spans[at][1]
    else:
        start, end = spans[0][0], spans[1][0]
    return text[:start] + text[end:]


def _span(text: str, node: yaml.Node) -> tuple[int, int]:
    """Where a node's own text begins and ends; a block's marks go on to the next token, past comments."""
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.ScalarNode):
        return start, start + len(text[start:end].rstrip("\r\n ")) if node.style in {"|", ">"} else end
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return start, end
    parts = [part for each in node.value for part in (each if isinstance(each, tuple) else (each,))]
    return start, max((_span(text, part)[1] for part in parts), default=start)


def _after_key(text: str, top: yaml.MappingNode, field: str) -> int:
    """Just behind the colon of a block's field."""
    key = next(key for key, _ in top.value if key.value == field)
    return text.index(":", key.end_mark.index) + 1


def _apart(text: str, at: int) -> str:
    return "" if at and text[at - 1] in " \t\n[{," else " "


def _line(text: str, at: int) -> int:
    """The beginning of the line."""
    return text.rfind("\n", 0, at) + 1


def _next_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _insert_lines(text: str, at: int, lines: list[str]) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    before = text[:at] + (end if at and not text[:at].endswith("\n") else "")
    return before + end.join(lines) + end + text[at:]


def _plain(scalar: str | None) -> str:
    """A scalar as a block writes it."""
    if scalar is None:
        return "null"
    said = yaml.safe_dump(scalar, width=1 << 30, allow_unicode=True).removesuffix("\n").removesuffix("\n...")
    return str(said)
