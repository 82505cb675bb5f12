"""Waiting for a signal without missing one: PID 1 gets only signals that it handles, and a test may send one early."""

import signal
import socket
from collections.abc import Callable


def catch(*numbers: signal.Signals) -> Callable[[], int]:
    """Handle these signals from now on; the answer waits for the first of them and gives its number."""
    read, write = socket.socketpair()
    write.setblocking(False)
    signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)

    def wait() -> int:
        first = read.recv(1)[0]
        write.fileno()  # kept open until now
        return first

    return wait
