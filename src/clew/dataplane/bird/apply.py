"""BIRD made to say what is wanted, and asked whether it still does. Blocking; called by podnet.py in its worker."""

from clew.dataplane.bird.homes import Home
from clew.ir.routing import Speaker


class BirdPlane:
    """One node's router; `home` is the BIRD that it is part of."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._wanted: Speaker | None = None
        self._known = False  # what is wanted: until then a router that runs goes on
        self._done: Speaker | None = None  # what BIRD has read

    def want(self, speaker: Speaker | None) -> None:
        """None: no router, and none of its routes."""
        self._known, self._wanted = True, speaker

    @property
    def pending(self) -> bool:
        return self._known and self._wanted != self._done

    def read(self) -> None:
        """Whether it still runs, by what it was told; the next `sync` repairs."""
        if self._done is not None and not self._home.holds():
            self._done = None

    def sync(self) -> None:
        """KernelError where the program is missing, does not start, or refuses its file; the difference stays."""
        if not self._known:
            return
        if self._wanted is None:
            self._home.end()
        elif self._wanted != self._done:
            self._home.put(self._wanted)
        self._done = self._wanted
