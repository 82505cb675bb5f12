"""What an echo is asked, and what comes back."""

from typing import Protocol

from clew.base.value import Value

LEAST = {4: 576, 6: 1280}  # bytes that every path should carry (RFC 791, RFC 8200)


class Reply(Value):
    """`mtu`: a router on the way said that its next link takes no more bytes; 0: nobody said so."""

    came: bool
    mtu: int = 0


class Echo(Protocol):
    async def ask(self, address: str, size: int, seconds: float) -> Reply:
        """Send one IP packet of `size` bytes, headers included and not to be cut, and wait for its answer.

        The answer is as large. Nothing is raised: what cannot be sent does not come back.
        """
        ...
