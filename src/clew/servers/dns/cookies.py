"""DNS cookies (RFC 7873, in the form of RFC 9018): an asker can tell our answers from a stranger's.

None is demanded: an answer by UDP is never much larger than what was asked for, and a pod's resolver sends none.
"""

import hashlib
import hmac
import secrets
import time

COOKIE = 10  # the EDNS option
_SECRET = secrets.token_bytes(16)


def reply(cookie: bytes, client: str) -> bytes:
    """The option's data for an answer; empty where the asker's cannot be one (8 bytes, or 16 to 40 with ours)."""
    if len(cookie) != 8 and not 16 <= len(cookie) <= 40:
        return b""
    head = cookie[:8] + b"\1\0\0\0" + int(time.time()).to_bytes(4)
    return head + hmac.digest(_SECRET, head + client.encode(), hashlib.sha256)[:8]
