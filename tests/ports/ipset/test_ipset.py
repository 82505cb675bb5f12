"""The port to ipset, on the fake and on the kernel."""

import errno

import pytest

from clew.kernel.ipset import IpSet, IpSetError, IpSets

ENTRIES = {
    IpSet("ips", "hash:ip"): ("10.96.0.10", "10.96.0.11"),
    IpSet("nets", "hash:net"): ("10.244.0.0/16", "192.0.2.7"),
    IpSet("services", "hash:ip,port"): ("10.96.0.10,tcp:80", "10.96.0.10,udp:53", "10.96.0.10,sctp:7"),
    IpSet("loops", "hash:ip,port,ip"): ("10.244.1.10,tcp:8080,10.244.1.10",),
    IpSet("sources", "hash:ip,port,net"): ("192.0.2.10,tcp:80,172.30.0.0/24", "192.0.2.10,tcp:80,10.244.1.8"),
    IpSet("ports", "bitmap:port"): ("30080", "1"),
    IpSet("ips-6", "hash:ip", 6): ("fd00:10:96::10",),
    IpSet("nets-6", "hash:net", 6): ("fd00:10:244::/48", "2001:db8::1"),
    IpSet("services-6", "hash:ip,port", 6): ("fd00:10:96::10,tcp:80", "fd00:10:96::10,udp:53"),
    IpSet("loops-6", "hash:ip,port,ip", 6): ("fd00::1,tcp:8080,fd00::1",),
    IpSet("sources-6", "hash:ip,port,net", 6): ("2001:db8::1,tcp:80,fd00::/16", "2001:db8::1,tcp:80,fd00::5"),
}
SERVICES = IpSet("services", "hash:ip,port")


@pytest.mark.parametrize("what", ENTRIES, ids=lambda what: what.name)
def test_every_kind_gives_back_what_it_was_given(ipsets: IpSets, what: IpSet) -> None:
    ipsets.create(what)
    assert ipsets.sets() == {what.name: what}
    ipsets.change(what, (), ENTRIES[what])
    assert ipsets.entries(what.name) == set(ENTRIES[what])
    first, *rest = ENTRIES[what]
    ipsets.change(what, [first], ())
    assert ipsets.entries(what.name) == set(rest)


def test_the_same_again_is_fine(ipsets: IpSets) -> None:
    ipsets.create(SERVICES)
    ipsets.create(SERVICES)
    for _ in range(2):
        ipsets.change(SERVICES, (), ["10.96.0.10,tcp:80"])
    for _ in range(2):
        ipsets.change(SERVICES, ["10.96.0.10,tcp:80"], ())
    assert ipsets.entries("services") == set()
    ipsets.destroy("services")
    ipsets.destroy("services")
    assert ipsets.sets() == {}


def test_a_name_stands_for_one_kind_and_family(ipsets: IpSets) -> None:
    ipsets.create(SERVICES)
    for other in (IpSet("services", "hash:ip"), IpSet("services", "hash:ip,port", 6)):
        with pytest.raises(IpSetError) as refused:
            ipsets.create(other)
        assert refused.value.exists


def test_a_set_that_is_not_there_is_named(ipsets: IpSets) -> None:
    with pytest.raises(IpSetError, match="services") as refused:
        ipsets.entries("services")
    assert refused.value.absent
    with pytest.raises(IpSetError, match="services") as refused:
        ipsets.change(SERVICES, (), ["10.96.0.10,tcp:80"])
    assert refused.value.absent


def test_a_prefix_of_no_length_is_refused(ipsets: IpSets) -> None:
    nets = IpSet("nets", "hash:net")
    ipsets.create(nets)
    with pytest.raises(IpSetError, match="prefix length"):
        ipsets.change(nets, (), ["0.0.0.0/0"])


def test_a_name_too_long_is_refused(ipsets: IpSets) -> None:
    with pytest.raises(IpSetError) as refused:
        ipsets.create(IpSet("n" * 32, "hash:ip"))
    assert refused.value.number == errno.EINVAL


def test_thousands_of_entries_in_one_call(ipsets: IpSets) -> None:
    ipsets.create(SERVICES)
    many = {f"10.96.{number // 256}.{number % 256},tcp:80" for number in range(3_000)}
    ipsets.change(SERVICES, (), many)
    assert ipsets.entries("services") == many
    ipsets.change(SERVICES, many, ())
    assert ipsets.entries("services") == set()
