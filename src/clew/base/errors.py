"""The three kinds of failure, and nothing else.

* The user's input is wrong: a `UserError` where a command or a request can be refused, a `Problem` where an
  object among many is wrong and the rest must go on.
* The world is busy: a `WorldError`, retried by whoever holds the difference.
* We are wrong: any other exception; the supervisor reports it and restarts the part.
"""

from clew.base.value import Value


class UserError(Exception):
    """Wrong input, said in one line with its remedy; commands print it and exit 1."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class WorldError(Exception):
    """The kernel, a file or a peer refused for now; trying again may help."""


def refusal_among(
    several: BaseExceptionGroup[BaseException], *kinds: type[UserError] | type[WorldError]
) -> BaseException:
    """What a command says of the parts that failed together: the first of these kinds, else all of it."""
    for each in several.exceptions:
        found = refusal_among(each, *kinds) if isinstance(each, BaseExceptionGroup) else each
        if isinstance(found, kinds):
            return found
    return several


class Problem(Value):
    """An object that is wrong: shown on the object's condition and as an Event, never raised."""

    origin: str  # "Service default/web"
    field: str  # "spec.ports[0].nodePort"; "": of the whole object
    message: str

    @property
    def said(self) -> str:
        """Field and message, for who knows whose they are."""
        return f"{self.field}: {self.message}" if self.field else self.message

    def __str__(self) -> str:
        return f"{self.origin}: {self.said}"
