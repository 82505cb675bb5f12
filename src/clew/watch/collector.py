"""Python's garbage collector, kept out of bulk decoding, where it costs two to four times the decoding itself.

Wrap only code that does not await. A long-running part calls `settle` once when its first lists are in: what is
alive then stays alive, and later collections need not look at it.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """No collection inside; decoded JSON has no cycles, so nothing piles up."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def settle() -> None:
    """Collect once, then exempt everything that survived."""
    gc.collect()
    gc.freeze()
