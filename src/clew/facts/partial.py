"""Reading the few fields of an API object that a fact needs, straight from its bytes.

A `Partial` names those fields in Python's spelling; everything else in the object is skipped by the decoder. Used by
the modules of facts only.
"""

from typing import Any, TypeVar

import msgspec

Labels = dict[str, str] | None


class Partial(msgspec.Struct, rename="camel", gc=False):
    """Some fields of an API object; unknown ones are ignored."""


class Name(Partial):
    """What each object's metadata has, and all that a fact without further ones reads of it."""

    name: str
    namespace: str = ""


class Named(Partial):
    metadata: Name


P = TypeVar("P", bound=Partial)


def decode_partial(obj: bytes | dict[str, Any], kind: type[P]) -> P:
    """The object as `kind`; ValueError, with the path of the field, where a type is another."""
    if isinstance(obj, bytes):
        return _decoder(kind).decode(obj)
    return msgspec.convert(obj, kind)


_DECODERS: dict[type[Partial], msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[P]) -> "msgspec.json.Decoder[P]":
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    return decoder
