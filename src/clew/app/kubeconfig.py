"""A kubeconfig document with a lab's entries put in, and taken out again so that the former document is left.

Pure: text in, text out. The document is edited as YAML nodes, never as Python values, so every scalar keeps the way it
was written, fields that Clew does not know stay, and a file written as JSON stays one. Comments are lost, as they are
when kubectl writes the file. app/kubeconfig_files.py says which files, and writes them.
"""

import base64
from collections.abc import Iterator
from typing import Any

import yaml

from clew.base.value import Value

FIELDS = ("clusters", "users", "contexts")
CURRENT = "current-context"
_TEXT, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_LIST, _MAP = "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"


class BrokenError(Exception):
    """The text is no kubeconfig; the message says where."""


class Footprint(Value):
    """What a merge changed besides adding entries: enough to change it back."""

    former: str | None = None  # the current context before; None: the document named none
    absent: tuple[str, ...] = ()  # lists that were not there
    empty: tuple[str, ...] = ()  # lists that were there as null


def title(name: str) -> str:
    """What the lab's cluster, user and context are called."""
    return f"clew-{name}"


def entry(name: str, server: str, ca: bytes, certificate: bytes, key: bytes) -> dict[str, Any]:
    """A kubeconfig of one context."""
    own = title(name)
    texts = [base64.b64encode(each).decode() for each in (ca, certificate, key)]
    return {
        "apiVersion": "v1", "kind": "Config", CURRENT: own,
        "clusters": [{"name": own, "cluster": {"server": server, "certificate-authority-data": texts[0]}}],
        "users": [{"name": own, "user": {"client-certificate-data": texts[1], "client-key-data": texts[2]}}],
        "contexts": [{"name": own, "context": {"cluster": own, "user": own}}],
    }  # fmt: skip


def current(text: str) -> str | None:
    """The current context that the document names. BrokenError."""
    return _current(_parse(text))


def names(text: str, field: str) -> list[str]:
    """The names of the document's clusters, users or contexts. BrokenError."""
    node = _value(_parse(text), field)
    return [_name(each) for each in node.value] if isinstance(node, yaml.SequenceNode) else []


def put(text: str, new: dict[str, Any]) -> tuple[str, Footprint]:
    """The document with the entries of `new` in place of any of their name; its current context stays. BrokenError."""
    top = _parse(text)
    absent: list[str] = []
    empty: list[str] = []
    for field in FIELDS:
        found = _value(top, field)
        if not isinstance(found, yaml.SequenceNode):
            (absent if found is None else empty).append(field)
            found = yaml.SequenceNode(_LIST, [], flow_style=top.flow_style)
            _set(top, field, found)
        ours = {each["name"] for each in new[field]}
        found.value = [each for each in found.value if _name(each) not in ours]
        if not found.value and not top.flow_style:
            found.flow_style = False
        found.value += [_node(each, bool(found.flow_style)) for each in new[field]]
    return _written(top), Footprint(_current(top), tuple(absent), tuple(empty))


def use(text: str, context: str | None) -> str:
    """The document with this current context; None: with none. BrokenError."""
    top = _parse(text)
    if context is None:
        top.value = [(key, value) for key, value in top.value if key.value != CURRENT]
    else:
        _set(top, CURRENT, yaml.ScalarNode(_TEXT, context, style='"' if top.flow_style else None))
    return _written(top)


def take(text: str, own: str, before: Footprint) -> str:
    """The document without the entries called `own`; lists that a merge made go when they are empty. BrokenError."""
    top = _parse(text)
    for field in FIELDS:
        found = _value(top, field)
        if not isinstance(found, yaml.SequenceNode):
            continue
        found.value = [each for each in found.value if _name(each) != own]
        if found.value:
            continue
        found.flow_style = True  # []
        if field in before.absent:
            top.value = [(key, value) for key, value in top.value if key.value != field]
        elif field in before.empty:
            _set(top, field, yaml.ScalarNode(_NULL, "null"))
    return _written(top)


def bare(text: str) -> bool:
    """Whether the document says nothing: no entries, no current context, nothing but its kind. BrokenError."""
    top = _parse(text)
    for key, value in top.value:
        if key.value in {"apiVersion", "kind"} or (isinstance(value, yaml.ScalarNode) and not value.value):
            continue
        if not isinstance(value, yaml.CollectionNode) or value.value:
            return False
    return True


def _parse(text: str) -> yaml.MappingNode:
    """The document's nodes, checked as far as they are used; an empty text is an empty document."""
    try:
        documents = list(_composed(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise BrokenError(f"{where}{getattr(error, 'problem', None) or 'not YAML'}") from None
    if not documents or (isinstance(documents[0], yaml.ScalarNode) and documents[0].tag == _NULL):
        start = [("apiVersion", "v1"), ("kind", "Config")]
        return yaml.MappingNode(_MAP, [(_text(key), _text(value)) for key, value in start], flow_style=False)
    top = documents[0]
    if len(documents) > 1:
        raise BrokenError("more than one document")
    if not isinstance(top, yaml.MappingNode):
        raise BrokenError("not a mapping")
    for field in FIELDS:
        found = _value(top, field)
        if found is None or (isinstance(found, yaml.ScalarNode) and found.tag == _NULL):
            continue
        if not isinstance(found, yaml.SequenceNode):
            raise BrokenError(f"{field}: not a list")
        for at, each in enumerate(found.value):
            if not isinstance(each, yaml.MappingNode):
                raise BrokenError(f"{field}[{at}]: not a mapping")
    return top


def _composed(text: str) -> Iterator[yaml.Node]:
    yield from yaml.compose_all(text, Loader=yaml.SafeLoader)


def _written(top: yaml.MappingNode) -> str:
    made = yaml.serialize(top, Dumper=yaml.SafeDumper, width=1 << 30, allow_unicode=True)
    return str(made)


def _current(top: yaml.MappingNode) -> str | None:
    found = _value(top, CURRENT)
    if not isinstance(found, yaml.ScalarNode):
        return None
    return "" if found.tag == _NULL else str(found.value)


def _value(top: yaml.MappingNode, field: str) -> yaml.Node | None:
    return next((value for key, value in top.value if key.value == field), None)


def _set(top: yaml.MappingNode, field: str, node: yaml.Node) -> None:
    for at, (key, _) in enumerate(top.value):
        if key.value == field:
            top.value[at] = (key, node)
            return
    top.value.append((_text(field, quoted=bool(top.flow_style)), node))


def _name(item: yaml.MappingNode) -> str:
    found = _value(item, "name")
    return str(found.value) if isinstance(found, yaml.ScalarNode) else ""


def _text(value: str, *, quoted: bool = False) -> yaml.ScalarNode:
    return yaml.ScalarNode(_TEXT, value, style='"' if quoted else None)


def _node(value: Any, flow: bool) -> yaml.Node:  # noqa: FBT001 - a style
    if isinstance(value, dict):
        pairs = [(_text(key, quoted=flow), _node(each, flow)) for key, each in value.items()]
        return yaml.MappingNode(_MAP, pairs, flow_style=flow)
    return _text(value, quoted=flow)
