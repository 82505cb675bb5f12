"""The masquerade's table: rendered, simulated, applied on the nftables stand-in."""

import errno

import pytest

from clew.dataplane.masquerade import render, simulate
from clew.dataplane.masquerade.apply import MasqueradePlane
from clew.dataplane.masquerade.explain import explain
from clew.ir.routes import Masquerade
from clew.kernel.nft import FakeNft, NftError

IR = Masquerade(
    ("10.244.1.0/24", "fd00:1::/64"),
    ("10.244.0.0/16", "10.244.2.0/24", "fd00::/48", "172.30.0.11", "172.30.0.12", "fd00:172::11"),
    "Node one",
)
TABLE = render.table(IR)


def test_overlaps_are_joined_and_families_kept_apart() -> None:
    four, six = TABLE.rules
    assert four.words == (
        "ip saddr { 10.244.1.0/24 } ip daddr != { 10.244.0.0/16, 172.30.0.11, 172.30.0.12 } masquerade fully-random"
    )
    assert six.words == (
        "ip6 saddr { fd00:1::/64 } ip6 daddr != { fd00::/48, fd00:1::/64, fd00:172::11 } masquerade fully-random"
    )
    assert [rule.version for rule in render.table(Masquerade(("10.0.0.0/24",), (), "Node x")).rules] == [4]


def test_who_keeps_its_address() -> None:
    def hidden(source: str, destination: str) -> bool:
        return simulate.deciding_rule(TABLE, source, destination) is not None

    assert hidden("10.244.1.5", "192.0.2.1")
    assert hidden("fd00:1::5", "2001:db8::1")
    assert not hidden("10.244.1.5", "10.244.2.7")
    assert not hidden("10.244.1.5", "172.30.0.12")
    assert not hidden("172.30.0.11", "192.0.2.1")
    assert not hidden("fd00:1::5", "fd00:172::11")
    assert "leaves under the node's address" in explain(TABLE, "10.244.1.5", "192.0.2.1")
    assert "keeps its address" in explain(TABLE, "10.244.1.5", "10.244.2.7")


def test_it_is_written_once_and_again_when_somebody_changed_it() -> None:
    nft = FakeNft()
    plane = MasqueradePlane(nft)
    plane.sync()
    assert nft.writes == []
    plane.want(TABLE)
    assert plane.pending
    plane.sync()
    plane.read()
    plane.sync()
    assert nft.writes == ["run"]
    nft.run("delete table inet clew-pods")
    plane.read()
    assert plane.pending
    plane.sync()
    assert "fully-random" in (nft.listing("inet", "clew-pods") or "")


def test_a_node_more_is_one_more_transaction_and_no_second_rule() -> None:
    nft = FakeNft()
    plane = MasqueradePlane(nft)
    plane.want(TABLE)
    plane.sync()
    plane.want(render.table(Masquerade(IR.sources, (*IR.inside, "172.30.0.13"), IR.origin)))
    plane.sync()
    listing = nft.listing("inet", "clew-pods") or ""
    assert listing.count("masquerade") == 2
    assert "172.30.0.13" in listing or "172.30.0.12/31" in listing


def test_where_nobody_hides_there_is_no_table() -> None:
    nft = FakeNft()
    plane = MasqueradePlane(nft)
    for sources, there in ((IR.sources, True), ((), False), ((), False)):
        plane.want(render.table(Masquerade(sources, IR.inside, IR.origin)))
        plane.sync()
        assert bool(nft.listing("inet", "clew-pods")) is there
        plane.read()
        assert not plane.pending
    nft.run("add table inet clew-pods")
    plane.read()
    assert plane.pending, "somebody else's doing under our name"


def test_a_refusal_keeps_the_difference() -> None:
    refusals = [NftError(errno.EBUSY, "run an nft script")]
    nft = FakeNft(lambda _write: refusals.pop() if refusals else None)
    plane = MasqueradePlane(nft)
    plane.want(TABLE)
    with pytest.raises(NftError, match="EBUSY"):
        plane.sync()
    assert plane.pending
    plane.sync()
    assert not plane.pending
