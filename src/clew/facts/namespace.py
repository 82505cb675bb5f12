"""A Namespace, trimmed to its name: it exists or it does not."""

from clew.base.value import Value
from clew.facts.partial import Named, decode_partial


class Namespace(Value):
    name: str


def decode(data: bytes) -> tuple[tuple[str, str], Namespace | None]:
    """For a reflector: key and fact."""
    name = decode_partial(data, Named).metadata.name
    return ("", name), Namespace(name)
