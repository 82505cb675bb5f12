"""A benchmark that needs another kernel than this machine's, run in the vm lane's guest: `python -m bench.one` there.

The guest's processor is emulated: ratios hold in it, times do not.
"""

import json
import sys
from collections.abc import Iterator

import msgspec
from tests.vm.guest import Guest, Stream

from bench.figures import Figure, Say

SECONDS = 3600  # whoever waits for less ends this process, and the guest with it


def measured(name: str, scale: float, say: Say) -> Iterator[Figure]:
    """Figures of the benchmark of this name; its progress is told as it comes."""
    found: list[Figure] = []

    def heard(_stream: Stream, line: str) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            event = {"say": line}
        if "figure" in event:
            found.append(msgspec.convert(event["figure"], Figure))
        elif "say" in event:
            say(event["say"])

    say("booting a kernel that has what it needs")
    try:
        with Guest(heard) as guest:
            done = guest.run(sys.executable, "-m", "bench.one", name, str(scale), seconds=SECONDS)
    except KeyboardInterrupt:
        yield from found
        raise
    yield from found
    done.ok()
