"""A kubeconfig document with a lab's entries put in, and taken out again so that the former document is left.

Pure: text in, text out. The text is edited where it says something else (app/yaml_edits.py), never written anew: every
comment, scalar, order and field that is not Clew's stays as it was, and a file written as JSON stays one.
app/kubeconfig_files.py says which files, and writes them.
"""

import base64
from typing import Any

import yaml

from clew.app import yaml_edits
from clew.app.yaml_edits import BrokenError
from clew.base.value import Value

FIELDS = ("clusters", "users", "contexts")
CURRENT = "current-context"
__all__ = ["CURRENT", "FIELDS", "BrokenError", "Footprint", "bare", "current", "entry", "names", "put", "take", "title"]


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
    found = yaml_edits.value(_parse(text), field)
    return [_name(each) for each in found.value] if isinstance(found, yaml.SequenceNode) else []


def put(text: str, new: dict[str, Any]) -> tuple[str, Footprint]:
    """The document with the entries of `new` in place of any of their name; its current context stays. BrokenError."""
    top = _parse(text)
    before = {field: yaml_edits.value(top, field) for field in FIELDS}
    absent = tuple(field for field, found in before.items() if found is None)
    empty = tuple(field for field, found in before.items() if isinstance(found, yaml.ScalarNode))
    footprint = Footprint(_current(top), absent, empty)
    if not top.value and not top.flow_style:
        text = yaml_edits.set_value(yaml_edits.set_value(text, "apiVersion", "v1"), "kind", "Config")
    for field in FIELDS:
        for item in new[field]:
            text = yaml_edits.append(_without(text, field, item["name"]), field, item)
    return text, footprint


def use(text: str, context: str | None) -> str:
    """The document with this current context; None: with none. BrokenError."""
    _parse(text)
    return yaml_edits.drop(text, CURRENT) if context is None else yaml_edits.set_value(text, CURRENT, context)


def take(text: str, own: str, before: Footprint) -> str:
    """The document without the entries called `own`; lists that a merge made go when they are empty. BrokenError."""
    for field in FIELDS:
        if own not in names(text, field):
            continue
        text = _without(text, field, own)
        if not names(text, field):
            if field in before.absent:
                text = yaml_edits.drop(text, field)
            elif field in before.empty:
                text = yaml_edits.set_value(text, field, None)
    return text


def bare(text: str) -> bool:
    """Whether the document says nothing: no entries, no current context, nothing but its kind. BrokenError."""
    for key, value in _parse(text).value:
        if key.value in {"apiVersion", "kind"} or (isinstance(value, yaml.ScalarNode) and not value.value):
            continue
        if not isinstance(value, yaml.CollectionNode) or value.value:
            return False
    return True


def _without(text: str, field: str, name: str) -> str:
    while name in (found := names(text, field)):
        text = yaml_edits.remove(text, field, found.index(name))
    return text


def _parse(text: str) -> yaml.MappingNode:
    """The document's nodes, checked as far as they are used."""
    top = yaml_edits.parse(text)
    for field in FIELDS:
        found = yaml_edits.value(top, field)
        if found is None or yaml_edits.is_null(found):
            continue
        if not isinstance(found, yaml.SequenceNode):
            raise BrokenError(f"{field}: not a list")
        for at, each in enumerate(found.value):
            if not isinstance(each, yaml.MappingNode):
                raise BrokenError(f"{field}[{at}]: not a mapping")
    return top


def _current(top: yaml.MappingNode) -> str | None:
    found = yaml_edits.value(top, CURRENT)
    if not isinstance(found, yaml.ScalarNode):
        return None
    return "" if yaml_edits.is_null(found) else str(found.value)


def _name(item: yaml.MappingNode) -> str:
    found = yaml_edits.value(item, "name")
    return str(found.value) if isinstance(found, yaml.ScalarNode) else ""
