"""The port to iptables, on the fake and on the programs of both kinds."""

import socket
from pathlib import Path

import pytest

from clew.base.xtables import Jump, Wanted, change, comment, read, removal
from clew.kernel import netns
from clew.kernel.iptables import Iptables, IptablesError, KernelIptables
from clew.kernel.netlink import Netlink, SetLink

RULES = (
    "-s 10.0.0.0/8 -j RETURN",
    '! -s 10.244.0.0/16 -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http" -m tcp --dport 80 -j MARKED',
    "! -i cbr0 -p udp -m udp --dport 53 -j REDIRECT --to-ports 40000",
    "-m addrtype ! --src-type LOCAL -m conntrack --ctstate NEW -j ACCEPT",
    "-p tcp -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j DNAT --to-destination 172.30.0.11:40000",
)
MARKED = (
    "-j MARK --set-xmark 0x4000/0x4000",
    "-m mark ! --mark 0x4000/0x4000 -j RETURN",
    "-j MASQUERADE --random-fully",
)
JUMP = f"-m comment {comment('ours')} -j OURS"
WANTED = Wanted(
    {
        "nat": {"OURS": RULES[:1] + RULES[1:], "MARKED": MARKED[:2]},
        "filter": {"GUARD": ("-d 10.96.0.10/32 -p tcp -j REJECT --reject-with tcp-reset", "-j DROP")},
    },
    (
        Jump("nat", "PREROUTING", JUMP),
        Jump("nat", "OUTPUT", JUMP),
        Jump("filter", "INPUT", "-j GUARD"),
    ),
)
OWNED = {table: tuple(chains) for table, chains in WANTED.chains.items()}


def found(iptables: Iptables) -> dict[str, dict[str, tuple[str, ...]]]:
    return {table: chains for name in ("nat", "filter") for table, chains in read(iptables.save(4, name)).items()}


def test_what_is_restored_is_read_back_as_it_was_written(iptables: Iptables) -> None:
    iptables.restore(4, change(WANTED, found(iptables)))
    here = found(iptables)
    for table, chains in WANTED.chains.items():
        assert {chain: here[table][chain] for chain in chains} == chains
    assert here["nat"]["PREROUTING"] == (JUMP,)
    assert change(WANTED, here) == ""
    assert set(iptables.tables(4)) == {"nat", "filter"}
    assert not iptables.tables(6)


def test_only_what_differs_is_written(iptables: Iptables) -> None:
    iptables.restore(4, change(WANTED, {}))
    iptables.restore(4, "*nat\n-F OURS\n-D OUTPUT -m comment --comment ours -j OURS\nCOMMIT\n")
    script = change(WANTED, found(iptables))
    assert "MARKED - " not in script
    assert "*filter" not in script
    iptables.restore(4, script)
    assert change(WANTED, found(iptables)) == ""


def test_rules_of_others_stay(iptables: Iptables) -> None:
    theirs = "*nat\n:THEIRS - [0:0]\n-A THEIRS -d 192.0.2.1/32 -j RETURN\n-A PREROUTING -j THEIRS\nCOMMIT\n"
    iptables.restore(4, theirs)
    before = found(iptables)
    iptables.restore(4, change(WANTED, before))
    assert found(iptables)["nat"]["PREROUTING"] == (JUMP, "-j THEIRS")
    iptables.restore(4, removal(OWNED, found(iptables)))
    after = found(iptables)
    assert after["nat"] == before["nat"]
    assert removal(OWNED, after) == ""


@pytest.mark.parametrize(
    "script",
    [
        "*nat\n-A NOWHERE -j RETURN\nCOMMIT\n",
        "*nat\n:OURS - [0:0]\n-A OURS -j NOWHERE\nCOMMIT\n",
        "*nat\n:OURS - [0:0]\n-A OURS -m set --match-set ABSENT dst,dst -j RETURN\nCOMMIT\n",
        "*nat\n:OURS - [0:0]\n-A OURS -j DROP\nCOMMIT\n",
        "*filter\n:OURS - [0:0]\n-A OURS -j MASQUERADE\nCOMMIT\n",
        "*nat\n:OURS - [0:0]\n-A PREROUTING -j OURS\n-X OURS\nCOMMIT\n",
        "*nat\n-D PREROUTING -j RETURN\nCOMMIT\n",
    ],
)
def test_what_is_wrong_is_refused_and_nothing_of_it_in_force(iptables: Iptables, script: str) -> None:
    with pytest.raises(IptablesError):
        iptables.restore(4, script)
    chains = found(iptables).get("nat", {})
    assert "OURS" not in chains
    assert not chains.get("PREROUTING")


def test_looking_makes_no_table(iptables: Iptables) -> None:
    assert iptables.save(4, "nat") == ""
    assert not iptables.tables(4)


def test_rules_of_either_kind_of_programs_are_found(iptables: Iptables) -> None:
    iptables.restore(4, change(WANTED, {}))
    holding = [each for each in iptables.kinds() if "OURS" in found(each).get("nat", {})]
    assert len(holding) == 1
    assert all("OURS" not in found(each).get("nat", {}) for each in iptables.others())


def test_rules_tell_how_many_packets_they_met(iptables: Iptables) -> None:
    iptables.restore(4, "*filter\n-A OUTPUT -p udp -j ACCEPT\nCOMMIT\n")
    assert iptables.met(4, "filter", "OUTPUT") == {"-p udp -j ACCEPT": 0}
    assert iptables.met(4, "nat", "OUTPUT") == {}
    assert iptables.met(6, "filter", "OUTPUT") == {}
    if isinstance(iptables, KernelIptables):
        assert iptables._ns is not None
        with Netlink(iptables._ns) as links:
            links.request([SetLink("lo", up=True)])
        with netns.socket_in(iptables._ns, socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(3):
                sender.sendto(b"x", ("127.0.0.1", 9))
        assert iptables.met(4, "filter", "OUTPUT") == {"-p udp -j ACCEPT": 3}


@pytest.mark.root
def test_the_kind_is_found_and_a_missing_program_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ns"
    netns.create(path)
    try:
        assert KernelIptables(path).kind == "legacy"
        monkeypatch.setattr("clew.kernel.iptables.real.PATH", str(tmp_path))
        with pytest.raises(IptablesError, match="install the package iptables"):
            _ = KernelIptables(path).kind
        with pytest.raises(IptablesError, match="install the package iptables"):
            KernelIptables(path, "legacy").restore(4, "*nat\nCOMMIT\n")
    finally:
        netns.delete(path)
