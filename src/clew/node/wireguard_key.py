"""The node's WireGuard key: made once, kept on its disk, its public half written on the Node for the others.

The private half never leaves the node. A file that is lost means a new key: the others hear of it as they heard of
the first. Called by app/agent.py where the backend is wireguard.
"""

import asyncio
import base64
import binascii
import logging
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from clew.api import kinds
from clew.base.clock import Clock
from clew.base.errors import UserError, WorldError
from clew.base.value import Value
from clew.facts.node import KEY_ANNOTATION, Node
from clew.kernel import files
from clew.store.table import Table
from clew.watch.client import Client

logger = logging.getLogger(__name__)

RETRY = 1.0  # seconds between two tries, and for the first to be heard of


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


async def publish(client: Client, nodes: Table[Node], name: str, public_key: str, clock: Clock) -> None:
    """For ever: see to it that the Node says this key, whoever takes it off."""
    changed = asyncio.Event()
    nodes.on_change(changed.set)
    said = ""
    while True:
        changed.clear()
        node = nodes.get(("", name))
        if node is None or node.wireguard_key == public_key:
            await changed.wait()
            continue
        try:
            await client.patch(kinds.NODE, name, _annotated(public_key), field_manager="clew-agent")
            said = ""
        except WorldError as trouble:
            if str(trouble) != said:
                said = str(trouble)
                logger.warning("cannot publish the WireGuard key on Node %s: %s", name, said)
        await clock.sleep(RETRY)


def _annotated(public_key: str) -> dict[str, object]:
    return {"metadata": {"annotations": {KEY_ANNOTATION: public_key}}}
