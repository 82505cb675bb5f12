import pytest

from clew.kernel.errors import KernelError
from clew.kernel.nft import ElementChange, ElementSet, Nft, NftError
from clew.kernel.nft.libnftables import Context

SERVICES = ElementSet("ip", "t", "services", 12, 4)
ENDPOINTS = ElementSet("ip", "t", "endpoints", 8, 8)
PLAIN = ElementSet("ip", "t", "plain", 8, 0)
RANGES = ElementSet("ip", "t", "ranges", 16, 0, interval=True)

STRUCTURE = """\
add table ip t { comment "of a test"; }
add map ip t services { type ipv4_addr . inet_proto . inet_service : classid; comment "where they begin"; }
add map ip t endpoints { typeof meta priority . numgen random mod 4 : ip daddr . ct original proto-dst; }
add set ip t plain { type ipv4_addr . ipv4_addr; }
add set ip t ranges { type ipv4_addr . inet_proto . inet_service . ipv4_addr; flags interval; }
add chain ip t n2
add chain ip t later
add chain ip t nat-prerouting { type nat hook prerouting priority -100; policy accept; }
add chain ip t nat-postrouting { type nat hook postrouting priority srcnat; }
add rule ip t later meta mark set meta mark | 0x00004000 comment "keep the other bits"
add rule ip t n2 meta l4proto { tcp, udp, sctp } dnat ip to meta priority . numgen random mod 2 map @endpoints
add rule ip t nat-prerouting ip daddr 10.0.0.1 jump later
add rule ip t nat-prerouting meta priority set ip daddr . meta l4proto . th dport map @services goto n2
add rule ip t nat-postrouting ip saddr . ip daddr @plain masquerade fully-random
"""

LISTING = """\
table ip t {
	comment "of a test"
	map services {
		type ipv4_addr . inet_proto . inet_service : classid
		comment "where they begin"
	}

	map endpoints {
		typeof meta priority . numgen random mod 4 : ip daddr . ct original proto-dst
	}

	set plain {
		type ipv4_addr . ipv4_addr
	}

	set ranges {
		type ipv4_addr . inet_proto . inet_service . ipv4_addr
		flags interval
	}

	chain n2 {
		meta l4proto { tcp, udp, sctp } dnat ip to meta priority . numgen random mod 2 map @endpoints
	}

	chain later {
		meta mark set meta mark | 0x00004000 comment "keep the other bits"
	}

	chain nat-prerouting {
		type nat hook prerouting priority -100; policy accept;
		ip daddr 10.0.0.1 jump later
		meta priority set ip daddr . meta l4proto . th dport map @services goto n2
	}

	chain nat-postrouting {
		type nat hook postrouting priority 100; policy accept;
		ip saddr . ip daddr @plain masquerade fully-random
	}
}
"""


def service(last: int) -> bytes:
    return bytes((10, 96, last >> 8, last & 255, 6, 0, 0, 0, 0, 80, 0, 0))


def value(number: int, comment: str = "") -> bytes:
    return number.to_bytes(4, "little") + comment.encode()


def test_a_script_is_listed_as_it_was_given(nft: Nft) -> None:
    nft.run(STRUCTURE)
    assert nft.listing("ip", "t") == LISTING


def test_a_listing_leaves_elements_out(nft: Nft) -> None:
    nft.run(STRUCTURE)
    nft.change([ElementChange(SERVICES, (), {service(1): value(1)})])
    assert nft.listing("ip", "t") == LISTING


def test_what_is_not_there_has_no_listing_and_no_fingerprint(nft: Nft) -> None:
    assert nft.listing("ip", "t") is None
    assert nft.fingerprint("ip", "t") == b""


def test_a_fingerprint_changes_with_the_structure_only(nft: Nft) -> None:
    nft.run(STRUCTURE)
    before = nft.fingerprint("ip", "t")
    assert before
    nft.change([ElementChange(SERVICES, (), {service(1): value(1)})])
    nft.run("add table ip other\nadd chain ip other c")
    assert nft.fingerprint("ip", "t") == before
    nft.run("flush chain ip t nat-postrouting")
    assert nft.fingerprint("ip", "t") != before


@pytest.mark.parametrize("target", [SERVICES, PLAIN, ENDPOINTS])
def test_elements_come_back_as_they_were_put(nft: Nft, target: ElementSet) -> None:
    nft.run(STRUCTURE)
    wanted = {number.to_bytes(4, "big") * (target.key_length // 4): bytes(target.data_length) for number in range(3000)}
    nft.change([ElementChange(target, (), wanted)])
    assert nft.elements(target) == wanted


def test_comments_travel_with_elements(nft: Nft) -> None:
    nft.run(STRUCTURE)
    wanted = {service(1): value(7, "default/web:http"), service(2): value(8)}
    nft.change([ElementChange(SERVICES, (), wanted)])
    assert nft.elements(SERVICES) == wanted


def test_ranges_come_back_as_two_keys(nft: Nft) -> None:
    nft.run(STRUCTURE)
    low, high = service(1) + bytes((10, 0, 0, 0)), service(1) + bytes((10, 255, 255, 255))
    nft.change([ElementChange(RANGES, (), {low + high: b""})])
    assert nft.elements(RANGES) == {low + high: b""}
    nft.change([ElementChange(RANGES, [low + high], {})])
    assert nft.elements(RANGES) == {}


def test_overlapping_ranges_are_refused(nft: Nft) -> None:
    nft.run(STRUCTURE)
    wide = service(1) + bytes((10, 0, 0, 0)) + service(1) + bytes((10, 255, 255, 255))
    inner = service(1) + bytes((10, 1, 0, 0)) + service(1) + bytes((10, 1, 255, 255))
    nft.change([ElementChange(RANGES, (), {wide: b""})])
    with pytest.raises(NftError):
        nft.change([ElementChange(RANGES, (), {inner: b""})])


def test_an_element_that_changes_is_removed_first_in_the_same_transaction(nft: Nft) -> None:
    nft.run(STRUCTURE)
    nft.change([ElementChange(SERVICES, (), {service(1): value(1)})])
    nft.change([ElementChange(SERVICES, [service(1)], {service(1): value(2)})])
    assert nft.elements(SERVICES) == {service(1): value(2)}


def test_adding_a_key_with_another_value_is_refused_by_name(nft: Nft) -> None:
    nft.run(STRUCTURE)
    nft.change([ElementChange(SERVICES, (), {service(1): value(1)})])
    with pytest.raises(NftError, match="map services of table ip t") as refused:
        nft.change([ElementChange(SERVICES, (), {service(2): value(2), service(1): value(2)})])
    assert refused.value.exists
    assert refused.value.key == service(1)
    assert nft.elements(SERVICES) == {service(1): value(1)}


def test_adding_what_is_there_is_fine(nft: Nft) -> None:
    nft.run(STRUCTURE)
    for _ in range(2):
        nft.change([ElementChange(SERVICES, (), {service(1): value(1)})])


def test_removing_what_is_not_there_is_refused_and_nothing_of_the_batch_holds(nft: Nft) -> None:
    nft.run(STRUCTURE)
    nft.change([ElementChange(PLAIN, (), {bytes(8): b""})])
    with pytest.raises(NftError) as refused:
        nft.change(
            [ElementChange(PLAIN, [bytes(8)], {}), ElementChange(SERVICES, [service(9)], {service(1): value(1)})]
        )
    assert refused.value.absent
    assert refused.value.key == service(9)
    assert nft.elements(PLAIN) == {bytes(8): b""}
    assert nft.elements(SERVICES) == {}


def test_elements_of_an_unknown_set_are_refused(nft: Nft) -> None:
    nft.run(STRUCTURE)
    unknown = ElementSet("ip", "t", "nope", 4, 0)
    with pytest.raises(NftError, match="nope") as refused:
        nft.elements(unknown)
    assert refused.value.absent
    with pytest.raises(NftError, match="nope"):
        nft.change([ElementChange(unknown, (), {bytes(4): b""})])


def test_many_elements_go_in_one_transaction(nft: Nft) -> None:
    nft.run(STRUCTURE)
    wanted = {service(number): value(number, f"ns/service-{number}") for number in range(20_000)}
    before = nft.generation()
    nft.change([ElementChange(SERVICES, (), wanted)])
    assert nft.generation() == before + 1
    assert nft.elements(SERVICES) == wanted
    nft.change([ElementChange(SERVICES, list(wanted), {})])
    assert nft.elements(SERVICES) == {}


def test_the_generation_counts_everybodys_transactions(nft: Nft) -> None:
    before = nft.generation()
    nft.run(STRUCTURE)
    nft.run("add table ip other")
    assert nft.generation() == before + 2


@pytest.mark.parametrize(
    "script",
    [
        "add rule ip t nowhere accept",
        "add rule ip t n2 jump nowhere",
        "add rule ip t n2 ip saddr . ip daddr @nowhere drop",
        "add rule ip t n2 flub",
        "delete chain ip t n2",
        "delete table ip nowhere",
        "add chain ip t out { type nat hook output priority dstnat; }",
        "add chain ip t in { type nat hook input priority srcnat; }\nadd rule ip t in masquerade",
        "add rule ip t nat-prerouting masquerade",
        "add rule ip t nat-postrouting jump n2",
        "add rule ip t nat-postrouting reject",
        "add rule ip t n2 dnat ip to meta priority . numgen random mod 3 map @endpoints",
        "add rule ip t n2 dnat ip to numgen random mod 2 map { 0 : 10.0.0.1 . 80, 1 : 10.0.0.2 . 80 }",
        "add rule ip t later jump n2\nadd rule ip t n2 jump later",
    ],
)
def test_what_nft_refuses_changes_nothing(nft: Nft, script: str) -> None:
    nft.run(STRUCTURE)
    with pytest.raises(NftError):
        nft.run("add chain ip t before\n" + script)
    assert nft.listing("ip", "t") == LISTING


def test_a_value_declared_by_a_transport_port_cannot_be_used_by_a_later_rule(nft: Nft) -> None:
    nft.run(STRUCTURE)
    nft.run("add map ip t m { typeof meta priority . numgen random mod 4 : ip daddr . th dport; }")
    with pytest.raises(NftError, match="conflicting protocols"):
        nft.run("add rule ip t n2 meta l4proto { tcp, udp } dnat ip to meta priority . numgen random mod 3 map @m")


def test_an_error_says_what_nft_said(nft: Nft) -> None:
    nft.run(STRUCTURE)
    with pytest.raises(NftError, match="No such file or directory") as refused:
        nft.run("add rule ip t nowhere accept")
    assert refused.value.absent


def test_chains_are_rewritten_in_one_transaction(nft: Nft) -> None:
    nft.run(STRUCTURE)
    nft.run("flush chain ip t later\nadd rule ip t later meta mark set meta mark & 0xffffbfff")
    assert (nft.listing("ip", "t") or "").count("0xffffbfff") == 1
    assert "0x00004000" not in (nft.listing("ip", "t") or "")


def test_a_deleted_table_is_gone_with_its_elements(nft: Nft) -> None:
    nft.run(STRUCTURE)
    nft.change([ElementChange(SERVICES, (), {service(1): value(1)})])
    nft.run("delete table ip t")
    assert nft.listing("ip", "t") is None
    nft.run(STRUCTURE)
    assert nft.elements(SERVICES) == {}


def test_a_context_that_is_closed_refuses_instead_of_crashing() -> None:
    """A thread that went on after its port was closed ended the whole process: the library takes any pointer."""
    context = Context()
    context.close()
    with pytest.raises(KernelError, match="the context is closed"):
        context.run("list tables")
