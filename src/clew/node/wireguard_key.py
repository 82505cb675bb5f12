"""The node's WireGuard key: made once, kept on its disk, its public half written on the Node for the others.

The private half never leaves the node. A file that is lost means a new key: the others hear of it as they heard of
the first. Called by app/agent.py where the backend is wireguard.
"""

import base64
import binascii
from operator import attrgetter
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from clew.base.errors import UserError
from clew.base.value import Value
from clew.facts.node import KEY_ANNOTATION
from clew.kernel import files
from clew.node.announcement import Announcement


class KeyPair(Value):
    """Both as `wg` prints them."""

    private: str
    public: str


def load(path: Path) -> KeyPair:
    """The key in `path`, made if there is none; UserError where the file cannot be read, written or understood."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = X25519PrivateKey.generate().private_bytes_raw()
            files.replace(path, base64.b64encode(made) + b"\n", 0o600)
        key = X25519PrivateKey.from_private_bytes(base64.b64decode(path.read_bytes().strip(), validate=True))
    except OSError as problem:
        raise UserError(f"cannot keep the WireGuard key in {path}: {problem.strerror}", "see stateDir") from problem
    except (binascii.Error, ValueError) as damage:
        raise UserError(f"{path} holds no WireGuard key", "remove it: a new one is made at the next start") from damage
    return KeyPair(
        base64.b64encode(key.private_bytes_raw()).decode(),
        base64.b64encode(key.public_key().public_bytes_raw()).decode(),
    )


def announcement(public_key: str) -> Announcement:
    """By which the other nodes learn it."""
    return Announcement(KEY_ANNOTATION, public_key, attrgetter("wireguard_key"))
