"""IPsec between nodes made as wanted: states and policies. Blocking; called by apply.py only.

Keys come from whoever keeps them (`Ledger`, node/ipsec) and go into the kernel; they are in no message. No state is
ever made twice: the same key with packets counted from one again would repeat nonces. What is gone is reported to the
ledger, which starts anew under another epoch. A state that is not wanted any more, from or to a node that is there,
stays for GRACE: the other end may not have heard yet, and packets are on their way.

Ours by reqid and if_id; policies without a device, which only drop, by their priority.
"""

import errno
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Protocol

from clew.base.addresses import family_of
from clew.dataplane.overlay.objects import CLEAR_PRIORITY, IF_ID, IPSEC, REQID, EspPeer, EspState
from clew.kernel.errors import KernelError
from clew.kernel.xfrm import Policy, State, Template, Xfrm
from clew.kernel.xfrm.port import Direction
from clew.reconcile import DeltaMap

GRACE = 60.0  # seconds
WORN = 1 << 44  # bytes under one key: AES-GCM is as good as new far beyond (2^40 blocks: advantage below 2^-48)
ANY = {4: "0.0.0.0/0", 6: "::/0"}
LONGEST = 128
INWARD: tuple[Direction, ...] = ("in", "fwd")

At = tuple[str, int]  # target and SPI, by which the kernel knows a state
Selector = tuple[str, str, str, int]
Failures = dict[str, KernelError]


class Ledger(Protocol):
    """Who keeps the keys, and knows which states there have been."""

    def key(self, token: str, purpose: str) -> bytes:
        """What is derived for `purpose` from the key of this name."""
        ...

    def enter(self, spis: Collection[int]) -> frozenset[int]:
        """Write them down before they are made; returns those that had not been before."""
        ...

    def strike(self, spis: Collection[int]) -> None:
        """These were entered, and the kernel refused them: they never were."""
        ...

    def renew(self, reason: str) -> None:
        """Start anew: other states will be wanted soon."""
        ...


class EspEnds:
    """The states and policies of one node."""

    def __init__(self, xfrm: Xfrm, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._xfrm = xfrm
        self._ledger = ledger
        self._clock = clock
        self._peers: tuple[EspPeer, ...] = ()
        self._wanted = False
        self._lookup: dict[At, EspState] = {}
        self._states: DeltaMap[At, State] = DeltaMap(self._lingers)
        self._policies: DeltaMap[Selector, Policy] = DeltaMap()
        self._since: dict[At, float] = {}  # when one was first seen unwanted
        self._carried: dict[At, int] = {}
        self._twice = ""

    def __bool__(self) -> bool:
        """Whether there is something to do."""
        return bool(self._states or self._policies)

    def want(self, peers: Iterable[EspPeer], *, wanted: bool) -> None:
        """`wanted`: the backend is this one, whether there are others or not."""
        self._peers, self._wanted = tuple(peers), wanted
        self._compare()

    def read(self) -> None:
        try:
            states, policies = self._xfrm.states(), self._xfrm.policies()
        except KernelError as refusal:
            if self._wanted or refusal.number != errno.EOPNOTSUPP:
                raise
            return  # nothing of ours can be there
        ours = {(each.target, each.spi): each for each in states if (each.reqid, each.if_id) == (REQID, IF_ID)}
        self._carried = {at: states[state] for at, state in ours.items()}
        self._states.found_whole(ours)
        self._policies.found_whole({_selector(each): each for each in policies if _is_ours(each)})
        self._compare()

    def make(self) -> Failures:
        """States, then the policies that lead to them."""
        try:
            failures = self._make_states()
        except KernelError as refusal:  # the ledger's
            failures = {f"{IPSEC} states": refusal}
        self._want_policies()
        for selector, policy in list(self._policies.updates.items()):
            try:
                self._xfrm.put_policy(policy, known=selector in self._policies.actual)
            except KernelError as refusal:
                failures[f"{IPSEC} {policy.direction} {policy.source} {policy.target}"] = refusal
            else:
                self._policies.done(selector)
        return failures

    def sweep(self) -> Failures:
        """Policies, then the states to which none leads any more."""
        failures: Failures = {}
        for selector in list(self._policies.deletions):
            policy = self._policies.actual[selector]
            name = f"{IPSEC} {policy.direction} {policy.source} {policy.target}"
            if _done(failures, name, partial(self._xfrm.remove_policy, policy)):
                self._policies.done(selector)
        for at in list(self._states.deletions):
            state = self._states.actual[at]
            if _done(failures, f"{IPSEC} SPI {at[1]:#010x}", partial(self._xfrm.remove_state, state)):
                self._states.done(at)
        return failures

    def _make_states(self) -> Failures:
        failures: Failures = {}
        missing = list(self._states.updates)
        fresh = self._ledger.enter([spi for _, spi in missing]) if missing else frozenset[int]()
        renew, refused = self._twice, []
        for at in missing:
            each = self._lookup[at]
            if at[1] not in fresh:
                renew = f"the state {at[1]:#010x} to {at[0]} is gone"
                continue
            try:
                self._xfrm.add_state(self._states.updates[at], self._ledger.key(each.token, each.purpose))
            except KernelError as refusal:
                if refusal.exists:
                    renew = f"the SPI {at[1]:#010x} is taken"
                else:
                    refused.append(at[1])
                    failures[f"{IPSEC} SPI {at[1]:#010x}"] = refusal
            else:
                self._states.done(at)
        if refused:
            self._ledger.strike(refused)
        if renew:
            self._ledger.renew(renew)
            failures[f"{IPSEC} states"] = KernelError(errno.ESTALE, "keep states", detail=f"{renew}: new keys follow")
        elif any(self._carried.get(_at(peer.outbound[-1]), 0) > WORN for peer in self._peers if peer.outbound):
            self._ledger.renew("a key has encrypted enough")
        return failures

    def _compare(self) -> None:
        """What is wanted, given what is there."""
        self._lookup, self._twice = {}, ""
        for peer in self._peers:
            older = [each for each in peer.outbound[:-1] if _at(each) in self._states.actual]
            for each in (*peer.inbound, *older, *peer.outbound[-1:]):
                before = self._lookup.setdefault(_at(each), each)
                if before != each:
                    self._twice = f"two nodes have the SPI {each.spi:#010x}"
        self._states.want_whole({at: _state(each) for at, each in self._lookup.items()})
        unwanted = self._states.draining | self._states.deletions
        self._since = {at: since for at, since in self._since.items() if at in unwanted}
        self._want_policies()

    def _want_policies(self) -> None:
        found: list[Policy] = []
        if self._wanted:
            found += [Policy(way, every, every, Template(REQID), IF_ID) for way in INWARD for every in ANY.values()]
        for peer in self._peers:
            found += [
                Policy(way, pods, ANY[family_of(pods)], None, 0, CLEAR_PRIORITY) for way in INWARD for pods in peer.pods
            ]
            found += self._sent(peer)
        self._policies.want_whole({_selector(each): each for each in found})

    def _sent(self, peer: EspPeer) -> list[Policy]:
        """Under the first state that is there; as it is, where the other end names no key that is known here."""
        there = next((each for each in peer.outbound if _at(each) in self._states.actual), None)
        if there is not None:
            needs = Template(REQID, there.source, there.target, there.spi)
            return [Policy("out", ANY[family_of(to)], to, needs, IF_ID, _precedence(to)) for to in peer.allowed]
        kept = (self._policies.actual.get(("out", ANY[family_of(to)], to, IF_ID)) for to in peer.allowed)
        return [each for each in kept if each is not None and each.needs and each.needs.target == peer.remote]

    def _lingers(self, at: At, state: State) -> bool:
        peer = next((each for each in self._peers if each.remote in {state.source, state.target}), None)
        if peer is None:
            return False
        if peer.stays:
            return True
        return self._clock() - self._since.setdefault(at, self._clock()) < GRACE


def _done(failures: Failures, name: str, ask: Callable[[], None]) -> bool:
    """Whether it is gone."""
    try:
        ask()
    except KernelError as refusal:
        if not refusal.absent:
            failures[name] = refusal
            return False
    return True


def _precedence(prefix: str) -> int:
    """The kernel takes the lowest number first: of two prefixes in each other the longer, as routes do."""
    return LONGEST - int(prefix.rpartition("/")[2])


def _at(each: EspState) -> At:
    return each.target, each.spi


def _state(each: EspState) -> State:
    return State(each.source, each.target, each.spi, REQID, IF_ID)


def _selector(policy: Policy) -> Selector:
    return policy.direction, policy.source, policy.target, policy.if_id


def _is_ours(policy: Policy) -> bool:
    blocks = policy.needs is None and policy.priority == CLEAR_PRIORITY
    return policy.if_id == IF_ID or (blocks and not policy.if_id)
