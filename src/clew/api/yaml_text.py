"""YAML as Kubernetes' programs read it: what JSON could say, and nothing else.

Dates stay text (there are none in JSON), keys become strings, values of no JSON type are refused. Called for request
bodies; manifests in the user's files are kubectl's matter.
"""

from typing import Any

import yaml

_SMALL = 10_000  # values that any document may have, however it comes by them


class _Loader(yaml.CSafeLoader):
    """Without YAML's own dates."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the library's own class attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


class _Tree:
    """The JSON of what YAML told, counted: aliases are copied, and each level of them may multiply the one below."""

    def __init__(self, most: int) -> None:
        self._left = most

    def of(self, value: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError("yaml: document contains excessive aliasing")
        if isinstance(value, dict):
            return {_key(key): self.of(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.of(item) for item in value]
        if value is None or isinstance(value, (str, bool, int, float)):
            return value
        raise ValueError(f"error converting YAML to JSON: a {type(value).__name__} has no JSON")


def load(raw: bytes) -> Any:
    """The one document in `raw`. ValueError, in one line, for what is no YAML or has no JSON."""
    try:
        # a value takes a byte at least, so that only aliases can make more of them than there are bytes
        return _Tree(max(len(raw), _SMALL)).of(yaml.load(raw, Loader=_Loader))  # noqa: S506 - a safe loader with less
    except (yaml.YAMLError, RecursionError) as wrong:
        raise ValueError("yaml: " + " ".join(str(wrong).split())) from None


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, (str, int, float)):
        return str(key)
    raise ValueError(f"error converting YAML to JSON: {key!r} cannot be a key")
