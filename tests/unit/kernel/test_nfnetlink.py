import errno
from collections.abc import Iterator

import pytest

from clew.kernel.errors import KernelError
from clew.kernel.nfnetlink import DONE, DUMP_INTERRUPTED, DUMPS, ERROR, Channel, Message


class Changing(Channel):
    """A kernel whose objects change during the first dumps: one says so by EINTR, the next by a flag, and so on."""

    def __init__(self, changes: int) -> None:
        self.sequence = 1
        self.asked = 0
        self._changes = changes

    def send(self, data: bytes, what: str) -> None:
        assert data, what
        self.asked += 1

    def receive(self, what: str) -> Iterator[Message]:
        assert what == "list things"
        interrupted = self.asked <= self._changes
        part = b"head" + bytes([self.asked])
        yield part, 7, DUMP_INTERRUPTED if interrupted and self.asked % 2 else 0, self.sequence, 0, len(part)
        if interrupted and not self.asked % 2:
            yield (-errno.EINTR).to_bytes(4, "little", signed=True), ERROR, 0, self.sequence, 0, 4
        yield b"", DONE, 0, self.sequence, 0, 0


@pytest.mark.parametrize("changes", [0, 1, 2, DUMPS - 1])
def test_what_came_of_an_interrupted_dump_counts_for_nothing(changes: int) -> None:
    assert Changing(changes).dump(1, 2, b"", "list things") == [bytes([changes + 1])]


def test_a_dump_that_others_never_leave_alone_ends_with_what_it_was() -> None:
    kernel = Changing(DUMPS)
    with pytest.raises(KernelError, match=r"list things.*interrupted 20 times by other changes") as refusal:
        kernel.dump(1, 2, b"", "list things")
    assert refusal.value.number == errno.EINTR
    assert kernel.asked == DUMPS
