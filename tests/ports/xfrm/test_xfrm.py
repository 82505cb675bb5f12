"""The port to XFRM, on the fake and on the kernel."""

import errno
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from clew.kernel import netns
from clew.kernel.errors import KernelError
from clew.kernel.xfrm import KernelXfrm, Policy, State, Template, Xfrm

OUT = State("172.30.0.11", "172.30.0.12", 0x1001, reqid=147, if_id=147)
IN = State("172.30.0.12", "172.30.0.11", 0x1002, reqid=147, if_id=147)
SIX = State("fd00:172::11", "fd00:172::12", 0xFFFF0001, reqid=147, if_id=147)
FOREIGN = State("192.0.2.1", "192.0.2.2", 0x1001)
KEY = bytes(range(20))

SENT = Policy("out", "0.0.0.0/0", "10.244.2.0/24", Template(147, OUT.source, OUT.target, OUT.spi), 147, 9)
ACROSS = Policy("out", "::/0", "fd00:244:2::/64", Template(147, OUT.source, OUT.target, OUT.spi), 147)
TAKEN = Policy("in", "0.0.0.0/0", "0.0.0.0/0", Template(147), 147)
PASSED = Policy("fwd", "::/0", "::/0", Template(147), 147)
PLAIN = Policy("fwd", "10.244.2.0/24", "0.0.0.0/0", None, 0, 14700)


def number(call: Any, *arguments: Any, **more: Any) -> int:
    try:
        call(*arguments, **more)
    except KernelError as refusal:
        return refusal.number
    return 0


@pytest.mark.parametrize("state", [OUT, IN, SIX, FOREIGN], ids=lambda state: f"{state.target}-{state.if_id}")
@pytest.mark.parametrize("length", [20, 28, 36])
def test_a_state_is_read_back(esp: Xfrm, state: State, length: int) -> None:
    esp.add_state(state, bytes(range(length)))
    assert esp.states() == {state: 0}


def test_states_stand_side_by_side_and_go_one_by_one(esp: Xfrm) -> None:
    for state in (OUT, IN, SIX, FOREIGN):
        esp.add_state(state, KEY)
    assert set(esp.states()) == {OUT, IN, SIX, FOREIGN}
    esp.remove_state(IN)
    assert set(esp.states()) == {OUT, SIX, FOREIGN}
    assert number(esp.remove_state, IN) == errno.ESRCH
    assert number(esp.remove_state, replace(OUT, spi=0x2001)) == errno.ESRCH


def test_a_state_is_known_by_target_and_spi_alone(esp: Xfrm) -> None:
    esp.add_state(OUT, KEY)
    assert number(esp.add_state, replace(OUT, source="172.30.0.99", reqid=5, if_id=6), bytes(20)) == errno.EEXIST
    assert set(esp.states()) == {OUT}
    esp.add_state(replace(OUT, target="172.30.0.13"), KEY)
    assert len(esp.states()) == 2


@pytest.mark.parametrize("length", [0, 16, 21, 40])
def test_a_key_of_no_known_length_is_refused(esp: Xfrm, length: int) -> None:
    assert number(esp.add_state, OUT, bytes(length)) == errno.EINVAL
    assert esp.states() == {}


@pytest.mark.parametrize("policy", [SENT, ACROSS, TAKEN, PASSED, PLAIN], ids=lambda each: each.direction + each.target)
def test_a_policy_is_read_back(xfrm: Xfrm, policy: Policy) -> None:
    xfrm.put_policy(policy)
    assert xfrm.policies() == [policy]
    assert number(xfrm.put_policy, policy) == errno.EEXIST
    xfrm.remove_policy(policy)
    assert xfrm.policies() == []
    assert number(xfrm.remove_policy, policy) == errno.ENOENT


def test_a_policy_is_replaced_in_place(xfrm: Xfrm) -> None:
    xfrm.put_policy(SENT)
    after = replace(SENT, needs=replace(SENT.needs, spi=0x2002), priority=10)
    xfrm.put_policy(after, known=True)
    assert xfrm.policies() == [after]
    blocked = replace(SENT, needs=None)
    xfrm.put_policy(blocked, known=True)
    assert xfrm.policies() == [blocked]


def test_the_same_selector_of_another_link_is_another_policy(xfrm: Xfrm) -> None:
    others = [SENT, replace(SENT, if_id=0), replace(SENT, if_id=5), replace(SENT, direction="fwd")]
    for policy in others:
        xfrm.put_policy(policy)
    xfrm.remove_policy(replace(SENT, if_id=5))
    assert sorted(map(str, xfrm.policies())) == sorted(map(str, [others[0], others[1], others[3]]))


@pytest.mark.root
def test_a_kernel_without_esp_is_told_by_what_it_lacks(tmp_path: Path) -> None:
    """Whatever this one has: the state is taken, or the refusal names the module."""
    netns.create(tmp_path / "ns")
    said = "CONFIG_"
    try:
        KernelXfrm(tmp_path / "ns").add_state(OUT, KEY)
    except KernelError as refusal:
        said = f"{refusal.name} {refusal.detail}"
    finally:
        netns.delete(tmp_path / "ns")
    assert "CONFIG_" in said
