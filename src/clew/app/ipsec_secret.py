"""The Secret with the keys of IPsec, as a lab makes it: random, once, and never touched again.

On a real cluster an operator makes it, as with Cilium. Called by app/lab.
"""

import base64
import secrets

from clew.api.kinds import SECRET
from clew.api.objects import Object
from clew.facts.ipsec import ALGORITHM, ICV_BITS, NAMESPACE, SALT
from clew.watch.client import Client
from clew.watch.errors import ApiError

FIRST = 1  # the key's ID


def made(name: str) -> Object:
    """With one key of AES-256."""
    line = f"{FIRST} {ALGORITHM} {secrets.token_hex(32 + SALT)} {ICV_BITS}\n"
    return {
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {"keys": base64.b64encode(line.encode()).decode()},
    }  # fmt: skip


async def ensure(client: Client, name: str) -> None:
    """One that is there stays as it is: it may have been rotated."""
    try:
        await client.create(SECRET, made(name))
    except ApiError as refusal:
        if not refusal.already_exists:
            raise
