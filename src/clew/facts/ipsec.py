"""What IPsec between nodes is told by the API: keys in a Secret, and on each Node where its agent stands with them.

The Secret is as Cilium's users know it: `keys`, one line a key, "ID rfc4106(gcm(aes)) HEX 128"; the last line is the
newest. What the hex holds is never used as a key itself: each direction between two nodes has one derived from it. A
key is named by its ID and a tag that follows from its bytes, so that two different ones of one ID are never taken for
the same; the tag tells nothing of the key. Called by reflectors and by facts/node; read by compile and node/ipsec.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Collection
from typing import Any

from clew.base.errors import Problem
from clew.base.value import Value
from clew.facts.partial import Partial, decode_partial

ANNOTATION = "clew.dev/ipsec"  # written by each node's agent
NAMESPACE = "kube-system"
ALGORITHM = "rfc4106(gcm(aes))"
ICV_BITS = "128"
SALT = 4  # bytes at the end of a key, RFC 4106 section 8.1
LENGTHS = {16 + SALT: "AES-128", 24 + SALT: "AES-192", 32 + SALT: "AES-256"}
_MOST_ID = 15  # as Cilium's, which has four bits for it
_PARTS = 4
_STANDING = re.compile(r"([0-9a-f]{32})((?: \d{1,2}:[0-9a-f]{16})*)")


class Key(Value):
    """One line. It shows itself without its bytes."""

    number: int
    material: bytes

    @property
    def token(self) -> str:
        """Its public name: "3:9f86d081884c7d65"."""
        return f"{self.number}:{hmac.new(self.material, b'clew ipsec tag', hashlib.sha256).hexdigest()[:16]}"

    def __repr__(self) -> str:
        return f"Key({self.token})"


class KeyRing(Value):
    """All keys of the Secret, the newest last, and what is wrong with other lines."""

    keys: tuple[Key, ...] = ()
    problems: tuple[Problem, ...] = ()


class Standing(Value):
    """`epoch`: by which a node's keys differ from those it had before it started anew; `receives`: tokens of keys."""

    epoch: str
    receives: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.epoch, *self.receives))


def standing(text: str) -> Standing | None:
    """From the annotation; None: there is none, or nothing that an agent wrote."""
    found = _STANDING.fullmatch(text)
    return Standing(found[1], tuple(found[2].split())) if found else None


class _Named(Partial):
    name: str
    namespace: str = ""


class _Secret(Partial):
    metadata: _Named
    data: dict[str, str] | None = None


def from_api(obj: bytes | dict[str, Any]) -> KeyRing:
    """The keys in a v1.Secret; ValueError names the field that has another type."""
    return _ring(decode_partial(obj, _Secret))


def decode(data: bytes) -> tuple[tuple[str, str], KeyRing]:
    """For a reflector."""
    secret = decode_partial(data, _Secret)
    return (secret.metadata.namespace, secret.metadata.name), _ring(secret)


def _ring(secret: _Secret) -> KeyRing:
    origin = f"Secret {secret.metadata.namespace}/{secret.metadata.name}"
    try:
        text = base64.b64decode((secret.data or {})["keys"], validate=True).decode()
    except KeyError:
        return KeyRing((), (Problem(origin, "data.keys", "it is not there"),))
    except ValueError:  # of base64, or of UTF-8
        return KeyRing((), (Problem(origin, "data.keys", "it is not base64 of plain text"),))
    keys: dict[int, Key] = {}
    problems = []
    for place, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            key = _key(line.split(), keys)
            keys[key.number] = key
        except _MalformedError as wrong:
            problems.append(Problem(origin, f"data.keys, line {place}, {wrong.field}", wrong.message))
    if not keys and not problems:
        problems.append(Problem(origin, "data.keys", "it holds no key"))
    return KeyRing(tuple(keys.values()), tuple(problems))


def _key(words: list[str], others: Collection[int]) -> Key:
    """No part of the key itself is repeated in what is said."""
    if len(words) != _PARTS:
        raise _MalformedError("all of it", f"it has {len(words)} words; write: ID {ALGORITHM} HEX {ICV_BITS}")
    number, algorithm, material, size = words
    number = number.removesuffix("+")  # Cilium's word for a key of its own for each pair, which is always so here
    if not number.isdecimal() or not 1 <= int(number) <= _MOST_ID:
        raise _MalformedError("ID", f"it must be 1 to {_MOST_ID}")
    if int(number) in others:
        raise _MalformedError("ID", f"{number} is there twice")
    if algorithm != ALGORITHM:
        raise _MalformedError("ALGO", f"{algorithm!r} is not known; use {ALGORITHM}")
    try:
        found = bytes.fromhex(material.removeprefix("0x"))
    except ValueError:
        raise _MalformedError("KEY", "it is not hexadecimal") from None
    if len(found) not in LENGTHS:
        allowed = ", ".join(f"{length} ({name})" for length, name in LENGTHS.items())
        raise _MalformedError("KEY", f"it has {len(found)} bytes; these are allowed: {allowed}")
    if size != ICV_BITS:
        raise _MalformedError("SIZE", f"{size!r} is not known; use {ICV_BITS}")
    return Key(int(number), found)


class _MalformedError(Exception):
    def __init__(self, field: str, message: str) -> None:
        self.field, self.message = field, message
        super().__init__(message)
