"""What a container may ask of the node: requests and limits."""

from collections.abc import Generator, Iterator
from fractions import Fraction

from clew.api.objects import Object
from clew.api.quantity import QuantityError, parse
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import FieldError, each_invalid, invalid, required

_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})


def resource_errors(resources: Object, at: str) -> Iterator[FieldError]:
    limits = yield from _amounts(resources.get("limits") or {}, f"{at}.limits")
    requests = yield from _amounts(resources.get("requests") or {}, f"{at}.requests")
    for name, wanted in requests.items():
        if name in limits and wanted > limits[name]:
            text = f"must be less than or equal to {name} limit of {resources['limits'][name]}"
            yield invalid(f"{at}.requests", resources["requests"][name], text)
        elif name in limits and wanted != limits[name] and not _may_exceed(name):
            text = f"must be equal to {name} limit of {resources['limits'][name]}"
            yield invalid(f"{at}.requests", resources["requests"][name], text)
        elif name not in limits and not _may_exceed(name):
            yield required(f"{at}.limits", "Limit must be set for non overcommitable resources")


def _may_exceed(name: str) -> bool:
    """Whether more may be promised than there is: not so for devices and huge pages."""
    return name in _STANDARD


def _amounts(given: Object, at: str) -> Generator[FieldError, None, dict[str, Fraction | int]]:
    found: dict[str, Fraction | int] = {}
    for name, text in given.items():
        here = f"{at}[{name}]"
        yield from _name(name, here)
        try:
            amount = parse(text)
        except QuantityError as wrong:
            yield invalid(here, text, str(wrong))
            continue
        if amount < 0:
            yield invalid(here, text, "must be greater than or equal to 0")
        elif name not in _STANDARD and Fraction(amount).denominator != 1:
            yield invalid(here, text, "must be an integer")
        found[name] = amount
    return found


def _name(name: str, at: str) -> Iterator[FieldError]:
    if name in _STANDARD or name.startswith("hugepages-"):
        return
    yield from each_invalid(at, name, names.qualified(name))
    if "/" not in name:
        yield invalid(at, name, "must be a standard resource type or fully qualified")
        yield invalid(at, name, "must be a standard resource for containers")
