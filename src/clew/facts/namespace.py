"""A Namespace, trimmed to its name: it exists or it does not."""

from clew.base.value import Value
from clew.facts.partial import Partial, decode_partial


class Namespace(Value):
    name: str


class _Meta(Partial):
    name: str


class _Namespace(Partial):
    metadata: _Meta


def decode(data: bytes) -> tuple[tuple[str, str], Namespace | None]:
    """For a reflector: key and fact."""
    name = decode_partial(data, _Namespace).metadata.name
    return ("", name), Namespace(name)
