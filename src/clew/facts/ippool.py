"""An IPPool (projectcalico.org/v3, as Calico's users write it): a range from which nodes carve blocks for their pods.

Trimmed to what Clew acts on, defaults filled in. Called by reflectors (`decode`); read by compile/pools.py, which
says whether a pool can be used.
"""

from typing import Any

import msgspec

from clew.base.addresses import family_of
from clew.base.value import Value
from clew.facts.partial import Partial, decode_partial

BLOCK_SIZE = {4: 26, 6: 122}  # prefix lengths: 64 addresses
EVERYWHERE = "all()"
USES = ("Workload", "Tunnel")


class Figures(Value):
    """What agents write of a pool for people to see."""

    block_size: int  # as it is, also where the spec says none
    capacity: str  # its addresses: "65536", "2^80"
    blocks: int
    allocated: int  # addresses that somebody has
    borrowed: int  # of these, by other nodes than the block's own


class IPPool(Value):
    name: str
    cidr: str
    block_size: int = 0  # prefix length of a block, filled in
    node_selector: str = EVERYWHERE
    namespace_selector: str = EVERYWHERE
    nat_outgoing: bool = False  # what leaves the pools for elsewhere takes the node's address
    disabled: bool = False  # no new blocks and addresses; those given out stay
    allowed_uses: tuple[str, ...] = USES
    manual: bool = False  # only for pods that name it
    created: str = ""
    uid: str = ""
    valid: bool | None = None  # its condition `Valid`, as it is written now
    said: str = ""  # that condition's message
    figures: Figures | None = None  # as they are written now
    malformed: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return "", self.name

    @property
    def origin(self) -> str:
        return f"IPPool {self.name}"

    @property
    def family(self) -> int:
        return family_of(self.cidr)


class _Meta(Partial):
    name: str
    uid: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class _Spec(Partial):
    cidr: str = ""
    block_size: int | None = None
    node_selector: str | None = None
    namespace_selector: str | None = None
    nat_outgoing: bool | None = None
    disabled: bool | None = None
    allowed_uses: list[str] | None = None
    assignment_mode: str | None = None


class _Condition(Partial):
    type: str = ""
    status: str = ""
    message: str = ""


class _Status(Partial):
    conditions: list[_Condition] | None = None
    block_size: int = 0
    capacity: str = ""
    blocks: int = 0
    allocated: int = 0
    borrowed: int = 0

    def figures(self) -> Figures | None:
        if not self.capacity:
            return None
        return Figures(self.block_size, self.capacity, self.blocks, self.allocated, self.borrowed)


class _Pool(Partial):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _Named(Partial):
    metadata: _Meta


def from_api(obj: bytes | dict[str, Any]) -> IPPool:
    """The fact; ValueError names the field that has another type."""
    pool = decode_partial(obj, _Pool)
    meta, spec = pool.metadata, pool.spec
    condition = next((each for each in pool.status.conditions or () if each.type == "Valid"), None)
    return IPPool(
        meta.name,
        spec.cidr,
        spec.block_size or BLOCK_SIZE[family_of(spec.cidr)],
        spec.node_selector or EVERYWHERE,
        spec.namespace_selector or EVERYWHERE,
        nat_outgoing=bool(spec.nat_outgoing),
        disabled=bool(spec.disabled) or meta.deletion_timestamp is not None,
        allowed_uses=tuple(spec.allowed_uses or USES),
        manual=spec.assignment_mode == "Manual",
        created=meta.creation_timestamp or "",
        uid=meta.uid,
        valid=None if condition is None else condition.status == "True",
        said="" if condition is None else condition.message,
        figures=pool.status.figures(),
    )


def decode(data: bytes) -> tuple[tuple[str, str], IPPool]:
    """For a reflector: key and fact. An object whose fields have other types becomes a fact that says so."""
    try:
        pool = from_api(data)
    except ValueError as wrong:
        meta = decode_partial(data, _Named).metadata
        pool = IPPool(meta.name, "", created=meta.creation_timestamp or "", uid=meta.uid, malformed=str(wrong))
    return pool.key, pool
