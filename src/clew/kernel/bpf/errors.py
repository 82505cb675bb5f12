"""What can be wrong with a compiled object: our own fault, found when it is built or first read."""


class BadObject(Exception):  # noqa: N818 - it says what it is
    """The object is none, or holds something that the loader does not know; the message names it."""
