"""One function of the library, in words that need no CEL library to be read."""

from collections.abc import Callable
from typing import Any

from clew.base.value import Value

# A value of a type of Kubernetes' own is a text inside a message of that name.
OWN_TYPES = (
    "net.IP", "net.CIDR", "kubernetes.URL", "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.NamedFormat",
    "kubernetes.NamedFormats", "kubernetes.FormatProblems",
)  # fmt: skip


class OverBudgetError(ValueError):
    """The rule has done all the work that it may do."""


class Function(Value):
    """`takes` of a member begins with what it is asked of. Types: CEL's names, `list(T)`, `map(K, V)`, or OWN_TYPES.

    `work` gets and gives plain values: for a type of OWN_TYPES its text. It raises ValueError where it has no answer.
    """

    name: str
    takes: tuple[str, ...]
    gives: str
    work: Callable[..., Any]
    member: bool = False


def member(name: str, takes: tuple[str, ...], gives: str, work: Callable[..., Any]) -> Function:
    return Function(name, takes, gives, work, member=True)


def holds(parse: Callable[[str], object]) -> Callable[[str], bool]:
    """Whether a parser takes the text."""

    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check
