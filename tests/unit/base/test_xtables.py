"""The language of iptables: a rule's words, and packets through chains, which must not guess."""

import pytest

from clew.base.xtables import Flight, Option, Scene, comment, parse, read, walk

PACKET = Flight("10.244.1.10", "10.96.0.10", "tcp", 80, inside="cbr0")
SCENE = Scene(
    frozenset({"172.30.0.11"}),
    {
        "services": frozenset({"10.96.0.10,tcp:80"}),
        "loops": frozenset({"10.244.1.10,tcp:8080,10.244.1.10"}),
        "sources": frozenset({"10.96.0.10,tcp:80,10.244.0.0/16"}),
        "ports": frozenset({"80"}),
        "nets": frozenset({"10.96.0.0/12", "192.0.2.1"}),
    },
    frozenset({"KNOWN"}),
)


def test_words_are_sorted_into_conditions_and_target() -> None:
    rule = parse('! -s 10.0.0.0/8 -p tcp -m comment --comment "a b" -m tcp --dport 80 -j REDIRECT --to-ports 4000')
    assert rule.conditions[0] == Option("", "-s", "10.0.0.0/8", negated=True)
    assert rule.conditions[2] == Option("comment", "--comment", "a b")
    assert rule.target == "REDIRECT"
    assert rule.argument("--to-ports") == "4000"
    with pytest.raises(ValueError, match="out of place"):
        parse("-p tcp udp")


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("-s 10.244.0.0/16", True),
        ("! -s 10.244.0.0/16", False),
        ("-d 10.96.0.10/32 -p tcp -m tcp --dport 79:81", True),
        ("-p udp", False),
        ("-i cbr0", True),
        ("-i cb+", True),
        ("! -i cbr0", False),
        ("-m mark --mark 0x4000/0x4000", False),
        ("-m addrtype --dst-type LOCAL", False),
        ("-m addrtype ! --src-type LOCAL", True),
        ("-m conntrack --ctstate NEW,RELATED", True),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", False),
        ("-m set --match-set services dst,dst", True),
        ("-m set --match-set services src,dst", False),
        ("-m set ! --match-set services dst,dst", False),
        ("-m set --match-set sources dst,dst,src", True),
        ("-m set --match-set loops dst,dst,src", False),
        ("-m set --match-set ports dst", True),
        ("-m set --match-set nets dst", True),
        ("-m set --match-set absent dst", False),
        ("-m recent --rcheck --seconds 10 --name KNOWN --rsource", True),
        ("-m recent --rcheck --seconds 10 --name OTHER --rsource", False),
    ],
)
def test_conditions(condition: str, *, met: bool) -> None:
    (outcome,) = walk({"c": (f"{condition} -j ACCEPT",)}, "c", PACKET, SCENE)
    assert outcome.verdict == ("ACCEPT" if met else "")


def test_chance_gives_every_outcome_and_the_last_is_certain() -> None:
    chains = {
        "c": ("-m statistic --mode random --probability 0.50000000000 -j one", "-j two"),
        "one": ("-p tcp -j DNAT --to-destination 10.0.0.1:80",),
        "two": ("-p tcp -j DNAT --to-destination 10.0.0.2:80",),
    }
    assert {outcome.argument for outcome in walk(chains, "c", PACKET, SCENE)} == {"10.0.0.1:80", "10.0.0.2:80"}


def test_a_comment_is_quoted_as_it_is_printed() -> None:
    assert [comment(text) for text in ("ours", "default/web", 'say "x"')] == [
        "--comment ours",
        '--comment "default/web"',
        '--comment "say \\"x\\""',
    ]
    said = comment('say "x"')
    assert parse(f"-m comment {said}").conditions[0].value == 'say "x"'


def test_a_mark_is_set_and_cleared_and_other_bits_stay() -> None:
    chains = {
        "c": ("-j mark", "-m mark --mark 0x4000/0x4000 -j clear", "-j ACCEPT"),
        "mark": ("-j MARK --set-xmark 0x4000/0x4000",),
        "clear": ("-j MARK --set-xmark 0x4000/0x0",),
    }
    start = Flight("10.0.0.1", "10.0.0.2", "udp", 53, mark=0x2A)
    (outcome,) = walk(chains, "c", start, SCENE)
    assert outcome.flight.mark == 0x2A
    assert [rule.split(":")[0] for rule in outcome.flight.rules] == ["c", "mark", "c", "clear", "c"]


def test_return_leaves_one_chain_only() -> None:
    chains = {"c": ("-j inner", "-j DROP"), "inner": ("-j RETURN", "-j ACCEPT")}
    (outcome,) = walk(chains, "c", PACKET, SCENE)
    assert outcome.verdict == "DROP"


def test_what_recent_would_remember_is_told() -> None:
    (outcome,) = walk({"c": ("-m recent --set --name L --rsource -j ACCEPT",)}, "c", PACKET, SCENE)
    assert outcome.flight.hits == (("L", "set"),)


@pytest.mark.parametrize("rule", ["-m length --length 5 -j ACCEPT", "-j TEE --gateway 10.0.0.1"])
def test_an_unknown_word_is_an_error_and_no_guess(rule: str) -> None:
    with pytest.raises(ValueError, match="known to the simulation"):
        list(walk({"c": (rule,)}, "c", PACKET, SCENE))


def test_a_listing_is_read_table_by_table() -> None:
    nat = ["*nat", ":PREROUTING ACCEPT [1:2]", ":OURS - [0:0]", "-A OURS -j RETURN", "-A OURS", "COMMIT"]
    text = "\n".join(["# by", *nat, "*filter", ":INPUT DROP [0:0]", "COMMIT"])
    assert read(text) == {"nat": {"PREROUTING": (), "OURS": ("-j RETURN", "")}, "filter": {"INPUT": ()}}
