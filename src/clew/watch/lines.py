"""Lines out of a chunked stream: a watch is one JSON document a line, split anywhere, a line of any length."""


class Lines:
    """Feed it what arrives, get whole lines without their end. Linear in the bytes, however a line is cut up."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes; empty ones are dropped."""
        *whole, rest = data.split(b"\n")
        if whole and self._begun:
            whole[0] = b"".join((*self._begun, whole[0]))
            self._begun.clear()
        if rest:
            self._begun.append(rest)
        return [line for line in whole if line]
