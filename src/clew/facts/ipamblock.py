"""An IPAMBlock (projectcalico.org/v3, with Calico's fields): a node's part of a pool, and who has which address of it.

One object is the whole truth about its addresses: a node owns a block because the object says so, a pod an address
because the block's newest version says so, and the API server takes a version only in place of the one before it.
Read by reflectors (`decode`), changed by compile/blocks.py, written by node/ipam/claims.py (`to_api`).
"""

from functools import lru_cache
from typing import Any

import msgspec

from clew.api.kinds import IPAM_BLOCK
from clew.base.addresses import Network, address, network
from clew.base.value import Value
from clew.facts.partial import Partial, decode_partial

_HOST = "host:"


class Holder(Value):
    """Whose an address is. `handle` is the attachment's: container and interface."""

    handle: str
    node: str
    pod: str = ""  # "default/web"
    since: str = ""


class Block(Value):
    cidr: str
    node: str  # whose block it is; "": nobody's any more
    held: tuple[tuple[int, Holder], ...] = ()  # by place in the block, in its order
    free: tuple[int, ...] = ()  # places, the one that waits longest first
    cooling: tuple[tuple[int, str], ...] = ()  # places that came free at a time and are nobody's for a while
    version: str = ""  # resourceVersion; "": not stored yet
    uid: str = ""
    malformed: str = ""  # why nothing more can be said of it; whose it is can

    @property
    def name(self) -> str:
        """`10.244.0.64/26` -> `10-244-0-64-26`, as Calico names them."""
        return name_of(self.cidr)

    @property
    def key(self) -> tuple[str, str]:
        return "", self.name

    @property
    def network(self) -> Network:
        return _network(self.cidr)

    def address(self, place: int) -> str:
        return str(self.network[place])

    def place(self, text: str) -> int:
        """Where an address stands; negative or too large where it is outside."""
        return int(address(text)) - int(self.network.network_address)


_network = lru_cache(maxsize=65536)(network)  # of each block a few times a call


def name_of(cidr: str) -> str:
    return cidr.replace(".", "-").replace(":", "-").replace("/", "-")


class _Meta(Partial):
    name: str = ""
    uid: str = ""
    resource_version: str = ""


class _Attribute(msgspec.Struct):
    handle_id: str | None = None
    secondary: dict[str, str] | None = None
    released_at: str | None = msgspec.field(default=None, name="releasedAt")


class _Spec(Partial):
    cidr: str = ""
    affinity: str | None = None
    allocations: list[int | None] = msgspec.field(default_factory=list)
    unallocated: list[int] = msgspec.field(default_factory=list)
    attributes: list[_Attribute] = msgspec.field(default_factory=list)


class _Block(Partial):
    metadata: _Meta
    spec: _Spec


class _Whose(Partial):
    cidr: str = ""
    affinity: str | None = None


class _Outline(Partial):
    metadata: _Meta
    spec: _Whose


def from_api(obj: bytes | dict[str, Any]) -> Block:
    """The fact; ValueError where the object is no block, or contradicts itself."""
    found = decode_partial(obj, _Block)
    spec, meta = found.spec, found.metadata
    range_, owner = _whose(meta, spec)
    if len(spec.allocations) != range_.num_addresses:
        raise ValueError(f"spec.allocations: {len(spec.allocations)} places, {range_.num_addresses} are in {range_}")
    held, cooling = [], []
    for place, index in enumerate(spec.allocations):
        if index is None:
            continue
        if not 0 <= index < len(spec.attributes):
            raise ValueError(f"spec.allocations[{place}]: there is no attribute {index}")
        each = spec.attributes[index]
        if each.released_at is not None:
            cooling.append((place, each.released_at))
            continue
        more = each.secondary or {}
        pod = f"{more['namespace']}/{more['pod']}" if more.get("pod") else ""
        held.append((place, Holder(each.handle_id or "", more.get("node", ""), pod, more.get("timestamp", ""))))
    taken = {place for place, _ in (*held, *cooling)}
    if taken & set(spec.unallocated) or len(taken) + len(set(spec.unallocated)) != range_.num_addresses:
        raise ValueError("spec.unallocated: it does not fit spec.allocations")
    return Block(
        str(range_), owner, tuple(held), tuple(spec.unallocated), tuple(cooling), meta.resource_version, meta.uid
    )


def _whose(meta: _Meta, spec: _Spec | _Whose) -> tuple[Network, str]:
    """The range and its owner; ValueError where somebody has edited what says so."""
    range_ = network(spec.cidr)
    if meta.name and meta.name != name_of(str(range_)):
        raise ValueError(f"spec.cidr: a block of {range_} is named {name_of(str(range_))}")
    affinity = spec.affinity or ""
    if affinity and not affinity.startswith(_HOST):
        raise ValueError(f"spec.affinity: {affinity!r} is not {_HOST} and a node's name")
    return range_, affinity.removeprefix(_HOST)


def read(data: bytes | dict[str, Any]) -> Block | None:
    """The fact; a block that cannot be read stands for its range with nothing free, and without a range for nothing."""
    try:
        return from_api(data)
    except ValueError as wrong:
        try:
            found = decode_partial(data, _Outline)
            range_, owner = _whose(found.metadata, found.spec)
        except ValueError:
            return None
        meta = found.metadata
        return Block(str(range_), owner, version=meta.resource_version, uid=meta.uid, malformed=str(wrong))


def decode(data: bytes) -> tuple[tuple[str, str], Block]:
    """For a reflector: key and fact."""
    block = read(data)
    if block is None:  # a reflector takes only its decoder's own error for an object that is no good
        raise msgspec.DecodeError("IPAMBlock: name, spec.cidr and spec.affinity do not say which range is whose")
    return block.key, block


def to_api(block: Block) -> dict[str, Any]:
    """The object, with the version that it is to replace."""
    allocations: list[int | None] = [None] * block.network.num_addresses
    attributes: list[dict[str, Any]] = []
    for index, (place, holder) in enumerate(block.held):
        allocations[place] = index
        namespace, _, pod = holder.pod.partition("/")
        said = {"node": holder.node, "namespace": namespace, "pod": pod, "timestamp": holder.since}
        attributes.append(
            {"handle_id": holder.handle, "secondary": {name: text for name, text in said.items() if text}}
        )
    for place, since in block.cooling:
        allocations[place] = len(attributes)
        attributes.append({"releasedAt": since})
    spec = {
        "cidr": block.cidr, "allocations": allocations, "unallocated": list(block.free), "attributes": attributes,
    }  # fmt: skip
    meta = {"name": block.name} | ({"resourceVersion": block.version, "uid": block.uid} if block.version else {})
    lent = sum(1 for _, holder in block.held if holder.node != block.node)
    counted = {
        "node": block.node, "size": block.network.num_addresses, "inUse": len(block.held), "lent": lent,
        "free": len(block.free), "cooling": len(block.cooling),
    }  # fmt: skip
    return {
        "apiVersion": IPAM_BLOCK.api_version, "kind": IPAM_BLOCK.kind, "metadata": meta,
        "spec": spec | ({"affinity": _HOST + block.node} if block.node else {}),
        "status": counted,  # for people: nothing reads it
    }  # fmt: skip
