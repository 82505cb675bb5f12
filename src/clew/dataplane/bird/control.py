"""BIRD's control socket: one question, one answer, blocking; and on the loop whether it is still there.

Source: BIRD 2 programmer's documentation, "Reply codes".
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable
from io import BufferedRWPair
from pathlib import Path

from clew.base.clock import Clock
from clew.base.value import Value

SECONDS = 5
AGAIN = 1.0  # seconds until it is looked for again
_LINE = re.compile(r"(\d{4})([ -])(.*)")


class Answer(Value):
    """`code` is that of the last line: 8000 and above are runtime errors, 9000 and above of syntax."""

    code: int
    text: str

    @property
    def refused(self) -> bool:
        return self.code >= 8000


def ask(path: Path, question: str) -> Answer | None:
    """None where nobody answers there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(SECONDS)
        try:
            connection.connect(bytes(path))
            with connection.makefile("rwb") as stream:
                _read(stream)  # the greeting
                stream.write(question.encode() + b"\n")
                stream.flush()
                return _read(stream)
        except (OSError, EOFError):
            return None


async def until_it_ends(path: Path, wanted: asyncio.Event, ended: Callable[[], None], clock: Clock) -> None:
    """For ever: `ended` is called when no BIRD answers at `path` (any more), as long as one is wanted.

    It closes the connections that it has, whatever ended it: nobody has to ask again and again. Where there is none to
    be had, it may have ended before anybody was connected, so that is told again and again.
    """
    while True:
        await wanted.wait()
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError:
            await clock.sleep(AGAIN)
            ended()
            continue
        try:
            with contextlib.suppress(OSError):
                while await reader.read(1024):
                    pass
        finally:
            writer.close()
        ended()
        await clock.sleep(AGAIN)


def _read(stream: BufferedRWPair) -> Answer:
    """Lines up to the one whose code is followed by a blank; a line that goes on begins with a blank."""
    text = []
    while True:
        line = stream.readline().decode(errors="replace").rstrip("\n")
        if not line:
            raise EOFError
        match = _LINE.fullmatch(line)
        text.append(match[3] if match else line.strip())
        if match and match[2] == " ":
            return Answer(int(match[1]), "\n".join(part for part in text if part))
