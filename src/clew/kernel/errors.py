"""What the kernel said when it refused: caught where a change is applied, kept there and tried again."""

import errno as numbers
import os

from clew.base.errors import WorldError


class KernelError(WorldError):
    """The kernel refused one step; the rest of the program is fine and a later try may succeed.

    `number` is an errno, `what` the step in words, `detail` the kernel's own sentence where it gave one,
    `index` the place of the refused message in its batch.
    """

    def __init__(self, number: int, what: str, *, index: int = 0, detail: str = "") -> None:
        self.number = number
        self.what = what
        self.index = index
        self.detail = detail
        reason = detail or os.strerror(number)
        super().__init__(f"{what}: {self.name}: {reason}")

    @property
    def name(self) -> str:
        """The errno's symbol: `EEXIST`."""
        return numbers.errorcode.get(self.number, f"errno {self.number}")

    @property
    def exists(self) -> bool:
        return self.number == numbers.EEXIST

    @property
    def absent(self) -> bool:
        """The thing, or the link it is on, is not there: a delete may take it for done."""
        return self.number in {numbers.ENOENT, numbers.ESRCH, numbers.ENODEV, numbers.EADDRNOTAVAIL, numbers.ENXIO}
