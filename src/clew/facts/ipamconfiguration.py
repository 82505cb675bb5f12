"""An IPAMConfiguration (projectcalico.org/v3): what holds for addresses of all pools; the one named `default` counts.

Called by reflectors; compile/ipam_rules.py says what of it acts.
"""

from typing import Any

import msgspec

from clew.base.value import Value
from clew.facts.partial import Name, Named, Partial, decode_partial

NAME = "default"
BLOCKS = 20  # of a family for one node, where nobody says another number; as in Calico, 0 says none


class IpamConfiguration(Value):
    name: str = NAME
    strict_affinity: bool = False  # nobody borrows
    max_blocks_per_host: int = BLOCKS  # of a family
    auto_allocate_blocks: bool = True  # nodes carve blocks
    ip_cooldown_seconds: int = 0  # between two holders of an address
    malformed: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return "", self.name

    @property
    def origin(self) -> str:
        return f"IPAMConfiguration {self.name}"


class _Spec(Partial):
    strict_affinity: bool | None = None
    max_blocks_per_host: int | None = None
    auto_allocate_blocks: bool | None = None
    ip_cooldown_seconds: int | None = None


class _Configuration(Partial):
    metadata: Name
    spec: _Spec = msgspec.field(default_factory=_Spec)


def from_api(obj: bytes | dict[str, Any]) -> IpamConfiguration:
    """The fact; ValueError names the field that has another type."""
    found = decode_partial(obj, _Configuration)
    spec = found.spec
    return IpamConfiguration(
        found.metadata.name,
        bool(spec.strict_affinity),
        spec.max_blocks_per_host or BLOCKS,
        spec.auto_allocate_blocks is not False,
        spec.ip_cooldown_seconds or 0,
    )


def decode(data: bytes) -> tuple[tuple[str, str], IpamConfiguration]:
    """For a reflector: key and fact. An object whose fields have other types becomes a fact that says so."""
    try:
        found = from_api(data)
    except ValueError as wrong:
        found = IpamConfiguration(decode_partial(data, Named).metadata.name, malformed=str(wrong))
    return found.key, found
