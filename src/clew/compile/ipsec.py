"""Nodes and the names of keys to the IPsec associations between this node and another. Pure, and it knows no key.

A key of an association is derived from one of the Secret for: the direction, both nodes' names and outer addresses, and
both nodes' epochs. An epoch is random and lasts as long as a node's kernel keeps all states that were made in it: what
begins to count packets anew has a key that never was, and AES-GCM's nonces come once. The SPI follows from the same
words, so that both ends know it without being told, and equal SPIs mean equal keys.

Rotation: what a node lists, it has states for and may send under. The newest key of ours that the other lists is sent
under; one that left the Secret is used on towards nodes that know no newer one, and listed as long as it is.
"""

import hashlib
from collections.abc import Collection

from msgspec.structs import replace

from clew.base.value import Value
from clew.facts.ipsec import Standing
from clew.facts.node import Node
from clew.ir.routes import Association, TunnelEnd

RESERVED = 256  # SPIs below are IANA's, RFC 4303


class Ring(Value):
    """What a node has itself, by the names of keys."""

    epoch: str = ""
    former: str = ""  # packets go on under this epoch's states, as far as they are there, until others have followed
    keys: tuple[str, ...] = ()  # of the Secret, the newest last
    retired: tuple[str, ...] = ()  # were in the Secret


def outer(own: Node, peer: Node) -> tuple[str, str] | None:
    """Both outer addresses, ours first: of IPv4 if both have it, else of IPv6. None: they have no family in common."""
    pairs = ((own.internal_ip(family), peer.internal_ip(family)) for family in (4, 6))
    return next((pair for pair in pairs if all(pair)), None)


def end(own: Node, peer: Node, ring: Ring, pods: tuple[str, ...]) -> TunnelEnd | None:
    """The other end, without associations where it has published nothing; None where it cannot be reached."""
    pair = outer(own, peer)
    if pair is None:
        return None
    addresses = tuple(ip for ip in (peer.internal_ip(4), peer.internal_ip(6)) if ip)
    bare = TunnelEnd(addresses, pods=pods, remote=pair[1], stays=True)
    if peer.ipsec is None or not ring.epoch:
        return bare
    here, there = (own.name, pair[0]), (peer.name, pair[1])
    known = [*ring.retired, *ring.keys]
    shared = [token for token in known if token in peer.ipsec.receives]
    current = [token for token in shared if token in ring.keys]
    outbound = []
    if shared:
        epochs = [epoch for epoch in (ring.former, ring.epoch) if epoch]
        token = (current or shared)[-1]
        outbound = [association(token, (*here, epoch), (*there, peer.ipsec.epoch)) for epoch in epochs]
    expected = [token for token in known if token in ring.keys or token in peer.ipsec.receives or not current]
    inbound = [association(token, (*there, peer.ipsec.epoch), (*here, ring.epoch)) for token in expected]
    stays = not current or any(token not in known for token in peer.ipsec.receives)
    return replace(bare, outbound=tuple(outbound), inbound=tuple(inbound), stays=stays)


def association(token: str, source: tuple[str, str, str], target: tuple[str, str, str]) -> Association:
    """`source` and `target`: name, outer address and epoch of a node."""
    purpose = " ".join(("clew ipsec 1", *source, *target))
    digest = hashlib.sha256(f"{token} {purpose}".encode()).digest()
    spi = RESERVED + int.from_bytes(digest[:8], "big") % (2**32 - RESERVED)
    return Association(source[1], target[1], spi, token, purpose)


def standing(ring: Ring, ends: Collection[TunnelEnd], before: Standing | None) -> Standing:
    """What this node may tell the others when everything for these ends is in its kernel.

    `before` is what it told last: an agent that started anew does not know a key that has left the Secret, and its
    kernel still sends under it to those that name no newer one.
    """
    listed = before.receives if before is not None and any(not end.outbound for end in ends) else ()
    sent = {*listed, *(each.token for end in ends for each in end.outbound)}
    return Standing(ring.epoch, (*sorted(sent.difference(ring.keys)), *ring.keys))
