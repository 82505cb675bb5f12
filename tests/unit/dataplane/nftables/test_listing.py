import pytest

from clew.dataplane.nftables.listing import UnreadableError, read_rule, read_rule_or_stranger, read_table, seconds
from clew.dataplane.nftables.objects import Compare, Field, Masked, Rule, duration
from clew.dataplane.nftables.rules import read_way_chain, structure, way_chain
from clew.dataplane.nftables.script import change, create
from clew.ir.proxying import Settings
from clew.kernel.nft import FakeNft

WAYS = {1: "endpoints-1", 4: "endpoints-4", 8192: "sticky-10800s-4", 8193: "sticky-60s-1"}
SETTINGS = [
    Settings(4),
    Settings(4, ("10.244.0.0/16",), ("10.96.0.0/12",), ("10.0.0.0/8", "192.0.2.1"), masquerade_all=True),
    Settings(6, ("fd00:10:244::/48",), ("fd00:10:96::/112",)),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_is_rendered_is_read_back_as_it_was(settings: Settings) -> None:
    table = structure(settings, WAYS)
    nft = FakeNft()
    nft.run("\n".join(create(table)))
    assert read_table(nft.listing(settings.ip, table.name) or "") == table


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("ways", [{}, {2: "endpoints-2"}, WAYS])
def test_a_script_leads_from_any_structure_to_any_other(settings: Settings, ways: dict[int, str]) -> None:
    before, after = structure(settings, WAYS), structure(settings, ways)
    nft = FakeNft()
    nft.run("\n".join(create(before)))
    commands = change(before, after)
    if commands:
        nft.run("\n".join(commands))
    found = read_table(nft.listing(settings.ip, after.name) or "")
    assert set(found.chains) == set(after.chains)
    assert bool(commands) == (ways != WAYS)
    assert change(found, after) == []


@pytest.mark.parametrize("text", ["counter accept", "ip daddr 10.0.0.1 log drop", "meta mark set ct mark"])
def test_a_rule_of_somebody_else_is_a_stranger(text: str) -> None:
    with pytest.raises(UnreadableError):
        read_rule(text)
    assert read_rule_or_stranger(text) == Rule((), text)


def test_a_table_of_another_family_is_refused() -> None:
    with pytest.raises(UnreadableError):
        read_table("table bridge x {\n}")


def test_bits_are_read_in_both_spellings() -> None:
    one = read_rule("meta priority & ffff:c000 == 0x00000000 return")
    other = read_rule("meta priority & 0xffffc000 == 0x00000000 return")
    assert one == other
    assert one.statements[0] == Compare(Masked("meta priority", 0xFFFFC000), ("0x00000000",))


def test_several_values_are_read_as_one_comparison() -> None:
    rule = read_rule('ip saddr != { 10.0.0.0/8, 192.0.2.1 } drop comment "not from here"')
    assert rule.statements[0] == Compare(Field("ip saddr"), ("10.0.0.0/8", "192.0.2.1"), negated=True)
    assert rule.comment == "not from here"


@pytest.mark.parametrize("number", [1, 60, 90, 3600, 10_800, 86_400, 90_061])
def test_durations_are_read_as_they_are_written(number: int) -> None:
    assert seconds(duration(number)) == number


@pytest.mark.parametrize(("backends", "affinity"), [(1, 0), (9000, 0), (3, 60)])
def test_the_name_of_a_ways_chain_says_what_it_is_for(backends: int, affinity: int) -> None:
    assert read_way_chain(way_chain(backends, affinity)) == (backends, affinity)


def test_other_chains_are_no_ways() -> None:
    assert read_way_chain("services") is None
    assert read_way_chain("endpoints-many") is None
