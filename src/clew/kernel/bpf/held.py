"""What is alive by a descriptor: maps and programs alike."""

import os


class Held:
    """A descriptor of something of BPF's. Closed, it goes on where a program or an attachment holds it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
