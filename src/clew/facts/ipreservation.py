"""An IPReservation (projectcalico.org/v3): addresses that nobody gets without choosing them. Called by reflectors."""

from typing import Any

import msgspec

from clew.base.value import Value
from clew.facts.partial import Name, Named, Partial, decode_partial


class Reservation(Value):
    name: str
    cidrs: tuple[str, ...] = ()  # addresses and ranges, as they were typed
    malformed: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return "", self.name

    @property
    def origin(self) -> str:
        return f"IPReservation {self.name}"


class _Spec(Partial):
    reserved_cidrs: list[str] | None = msgspec.field(default=None, name="reservedCIDRs")


class _Reservation(Partial):
    metadata: Name
    spec: _Spec = msgspec.field(default_factory=_Spec)


def from_api(obj: bytes | dict[str, Any]) -> Reservation:
    """The fact; ValueError names the field that has another type."""
    found = decode_partial(obj, _Reservation)
    return Reservation(found.metadata.name, tuple(found.spec.reserved_cidrs or ()))


def decode(data: bytes) -> tuple[tuple[str, str], Reservation]:
    """For a reflector: key and fact. An object whose fields have other types becomes a fact that says so."""
    try:
        found = from_api(data)
    except ValueError as wrong:
        found = Reservation(decode_partial(data, Named).metadata.name, malformed=str(wrong))
    return found.key, found
