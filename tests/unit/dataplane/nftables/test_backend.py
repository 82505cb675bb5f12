"""The backend on the fake: every path between states, with and without refusals, ends in the same table."""

import errno
import random
from collections.abc import Callable
from itertools import permutations

import pytest
from tests.unit.dataplane.balancers import STATES, Wanted, balancer, changes

from clew.dataplane.nftables import layout
from clew.dataplane.nftables.apply import Backend
from clew.dataplane.nftables.explain import ElementRow, Explainer
from clew.dataplane.nftables.listing import read_table
from clew.dataplane.nftables.rules import structure
from clew.ir.proxying import Settings
from clew.kernel.nft import ElementSet, FakeNft, NftError

SETTINGS = Settings(4, ("10.244.0.0/16",))


def read(nft: FakeNft) -> list[ElementRow]:
    """Everything in the kernel, in words (without the numbers of sets, which depend on history)."""
    elements = {}
    for each in layout.KEPT:
        lengths = each.length(each.key, "ip"), each.length(each.data, "ip")
        elements[each.name] = nft.elements(ElementSet("ip", layout.TABLE, each.name, *lengths, each.interval))
    return sorted(Explainer("ip", elements).rows(), key=str)


def fresh(state: Wanted) -> list[ElementRow]:
    nft = FakeNft()
    Backend(nft, SETTINGS).sync(state)
    return read(nft)


def insist(action: Callable[[], object]) -> None:
    """Try until nft agrees, as the proxy's pace does."""
    for _ in range(50):
        try:
            action()
            return
        except NftError:
            continue
    raise AssertionError("refused fifty times")


@pytest.mark.parametrize("fail", [0.0, 0.3])
@pytest.mark.parametrize("path", list(permutations(STATES, 3)), ids=" > ".join)
def test_every_path_leads_to_the_same_table(path: tuple[str, ...], fail: float) -> None:
    chance = random.Random(str(path))

    def fault(what: str) -> NftError | None:
        return NftError(errno.EBUSY, what) if chance.random() < fail else None

    nft = FakeNft(fault)
    backend = Backend(nft, SETTINGS)
    before: Wanted = {}
    for name in path:
        backend.expect(changes(before, STATES[name]))
        insist(lambda: backend.sync({}))
        before = STATES[name]
        assert read(nft) == fresh(STATES[name])
    table = read_table(nft.listing("ip", layout.TABLE) or "")
    assert set(table.chains) == set(structure(SETTINGS, backend.programme.ways()).chains)


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_restarted_agent_changes_only_what_is_wrong(before: str, after: str) -> None:
    nft = FakeNft()
    Backend(nft, SETTINGS).sync(STATES[before])
    again = Backend(nft, SETTINGS)
    result = again.sync(STATES[after])
    assert read(nft) == fresh(STATES[after])
    assert bool(result) == (before != after)


def test_chains_of_ways_that_nobody_uses_go_when_tidied() -> None:
    nft = FakeNft()
    backend = Backend(nft, SETTINGS)
    backend.sync(STATES["sticky"])
    backend.sync(changes(STATES["sticky"], STATES["one fewer"]))
    assert "sticky-60s-2" in (nft.listing("ip", layout.TABLE) or "")
    backend.tidy()
    backend.sync({})
    listing = nft.listing("ip", layout.TABLE) or ""
    assert "sticky-60s" not in listing
    assert "endpoints-1" in listing
    assert set(read_table(listing).chains) == set(structure(SETTINGS, {1: "endpoints-1"}).chains)


def test_an_idle_sync_writes_nothing() -> None:
    nft = FakeNft()
    backend = Backend(nft, SETTINGS)
    backend.sync(STATES["two share a pod"])
    before = len(nft.writes)
    assert backend.verify()
    assert not backend.sync({})
    assert len(nft.writes) == before


@pytest.mark.parametrize(
    "vandalism",
    [
        "flush chain ip clew-proxy nat-prerouting",
        "flush chain ip clew-proxy services",
        "delete table ip clew-proxy",
        "add chain ip clew-proxy stranger",
        "add rule ip clew-proxy services drop",
    ],
)
def test_what_others_did_to_the_rules_is_undone(vandalism: str) -> None:
    nft = FakeNft()
    backend = Backend(nft, SETTINGS)
    backend.sync(STATES["two share a pod"])
    right = nft.listing("ip", layout.TABLE), read(nft)
    nft.run(vandalism)
    assert not backend.verify()
    assert backend.sync({})
    assert (nft.listing("ip", layout.TABLE), read(nft)) == right
    assert backend.verify()


def test_what_others_did_to_elements_is_undone() -> None:
    nft = FakeNft()
    backend = Backend(nft, SETTINGS)
    backend.sync(STATES["two share a pod"])
    right = read(nft)
    other = Backend(nft, SETTINGS)
    other.sync(changes(STATES["two share a pod"], STATES["one"]))
    assert not backend.verify()
    backend.sync({})
    assert read(nft) == right


def test_a_table_of_another_release_is_replaced_whole() -> None:
    nft = FakeNft()
    nft.run(
        "add table ip clew-proxy\nadd set ip clew-proxy cluster-ips { type ipv4_addr; }\nadd chain ip clew-proxy old"
    )
    backend = Backend(nft, SETTINGS)
    backend.sync(STATES["one"])
    assert read_table(nft.listing("ip", layout.TABLE) or "") == backend.programme.structure()
    assert read(nft) == fresh(STATES["one"])


def test_tables_of_others_are_left_alone() -> None:
    nft = FakeNft()
    nft.run("add table ip foreign\nadd chain ip foreign c\nadd rule ip foreign c accept")
    foreign = nft.listing("ip", "foreign")
    backend = Backend(nft, SETTINGS)
    backend.sync(STATES["one"])
    assert nft.listing("ip", "foreign") == foreign
    backend.remove()
    assert nft.listing("ip", "foreign") == foreign
    assert nft.listing("ip", layout.TABLE) is None


def test_a_commit_of_somebody_else_costs_a_look_and_no_write() -> None:
    nft = FakeNft()
    backend = Backend(nft, SETTINGS)
    backend.sync(STATES["one"])
    nft.run("add table ip foreign")
    writes = len(nft.writes)
    assert backend.verify()
    assert not backend.sync({})
    assert len(nft.writes) == writes


def test_one_change_among_many_sends_only_itself() -> None:
    nft = FakeNft()
    backend = Backend(nft, SETTINGS)
    many: Wanted = {
        ("ns", str(n)): (balancer(f"ns/{n}", f"10.97.{n >> 8}.{n & 255}", ["10.0.0.2", "10.0.0.3"]),)
        for n in range(300)
    }
    backend.sync(many)
    result = backend.sync({("ns", "7"): (balancer("ns/7", "10.97.0.7", ["10.0.0.2"]),)})
    assert (result.commands > 0, result.added, result.removed) == (True, 1, 2)  # a first set of one needs its chain
    result = backend.sync({("ns", "8"): (balancer("ns/8", "10.97.0.8", ["10.0.0.2"]),)})
    assert (result.commands, result.added, result.removed) == (0, 1, 2)
