"""The port to IPVS, on the fake and on the kernel."""

import errno

import pytest

from clew.kernel.ipvs import (
    Delete,
    DeleteReal,
    Ipvs,
    Put,
    PutReal,
    RealServer,
    Timeouts,
    VirtualKey,
    VirtualServer,
)

WEB = VirtualKey(4, "TCP", "10.96.0.10", 80)
DNS = VirtualKey(4, "UDP", "10.96.0.10", 53)
WEB6 = VirtualKey(6, "TCP", "fd00:10:96::10", 80)
STREAM = VirtualKey(4, "SCTP", "10.96.0.10", 7)
ONE, TWO = RealServer("10.244.1.10", 8080), RealServer("10.244.2.10", 8080)
ROUND = VirtualServer("rr")


def numbers(ipvs: Ipvs, *changes: Put | Delete | PutReal | DeleteReal) -> list[int]:
    return [answer.number if answer else 0 for answer in ipvs.attempt(changes)]


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "lc", "wlc", "sh", "dh", "sed", "nq", "mh"])
def test_every_scheduler_is_kept(ipvs: Ipvs, scheduler: str) -> None:
    server = VirtualServer(scheduler, port_in_hash=scheduler == "mh")
    assert numbers(ipvs, Put(WEB, server)) == [0]
    assert ipvs.servers() == {WEB: server}


@pytest.mark.parametrize("key", [WEB, DNS, WEB6, STREAM], ids=str)
def test_what_is_put_is_read_back(ipvs: Ipvs, key: VirtualKey) -> None:
    sticky = VirtualServer("rr", persistence=10800)
    address = "fd00:10:244:1::a" if key.family == 6 else "10.244.1.10"
    real = RealServer(address, 8080, weight=3)
    assert numbers(ipvs, Put(key, sticky), PutReal(key, real)) == [0, 0]
    assert ipvs.servers() == {key: sticky}
    assert ipvs.real_servers(key) == [real]


def test_one_address_and_port_is_another_server_in_each_protocol(ipvs: Ipvs) -> None:
    keys = [WEB, VirtualKey(4, "UDP", WEB.address, WEB.port), VirtualKey(4, "SCTP", WEB.address, WEB.port)]
    assert numbers(ipvs, *(Put(key, ROUND) for key in keys)) == [0, 0, 0]
    assert set(ipvs.servers()) == set(keys)


def test_editing_keeps_the_real_servers(ipvs: Ipvs) -> None:
    numbers(ipvs, Put(WEB, ROUND), PutReal(WEB, ONE), PutReal(WEB, TWO))
    edited = VirtualServer("wlc", persistence=60)
    drained = RealServer(*ONE.at, weight=0)
    assert numbers(ipvs, Put(WEB, edited, known=True), PutReal(WEB, drained, known=True)) == [0, 0]
    assert ipvs.servers() == {WEB: edited}
    assert set(ipvs.real_servers(WEB)) == {drained, TWO}
    assert numbers(ipvs, Put(WEB, ROUND, known=True)) == [0]
    assert ipvs.servers() == {WEB: ROUND}, "persistence can be taken away"


def test_refusals_are_told_apart_and_the_rest_is_done(ipvs: Ipvs) -> None:
    assert numbers(
        ipvs,
        Put(WEB, ROUND),
        Put(WEB, ROUND),
        PutReal(WEB, ONE),
        PutReal(WEB, ONE),
        PutReal(WEB, TWO, known=True),
        DeleteReal(WEB, "10.244.9.9", 80),
        PutReal(DNS, ONE),
        Delete(DNS),
        Put(DNS, ROUND, known=True),
        Put(DNS, VirtualServer("nosuch")),
        PutReal(WEB, TWO),
    ) == [0, errno.EEXIST, 0, errno.EEXIST, *[errno.ENOENT] * 2, *[errno.ESRCH] * 3, errno.ENOENT, 0]
    assert set(ipvs.real_servers(WEB)) == {ONE, TWO}


def test_a_server_takes_its_real_servers_along(ipvs: Ipvs) -> None:
    numbers(ipvs, Put(WEB, ROUND), PutReal(WEB, ONE), PutReal(WEB, TWO))
    assert numbers(ipvs, DeleteReal(WEB, *ONE.at)) == [0]
    assert ipvs.real_servers(WEB) == [TWO]
    assert numbers(ipvs, Delete(WEB)) == [0]
    assert ipvs.servers() == {}
    assert not ipvs.real_servers(WEB)


def test_time_outs(ipvs: Ipvs) -> None:
    assert ipvs.timeouts() == Timeouts(900, 120, 300)
    ipvs.set_timeouts(Timeouts(tcp=1000, udp=20))
    assert ipvs.timeouts() == Timeouts(1000, 120, 20)


def test_hundreds_in_one_call(ipvs: Ipvs) -> None:
    keys = [VirtualKey(4, "TCP", f"10.96.{number // 250}.{number % 250 + 1}", 80) for number in range(400)]
    changes = [change for key in keys for change in (Put(key, ROUND), PutReal(key, ONE))]
    assert set(numbers(ipvs, *changes)) == {0}
    assert set(ipvs.servers()) == set(keys)
    assert all(list(ipvs.real_servers(key)) == [ONE] for key in keys[::40])
