"""XFRM without a kernel: the tests' half of the port. It refuses what the kernel refuses, and carries nothing."""

import errno
from collections.abc import Callable, Mapping

from clew.kernel.errors import KernelError
from clew.kernel.xfrm.port import Policy, State

KEY_LENGTHS = frozenset({20, 28, 36})


class FakeXfrm:
    """`carried` is what a test says that a state has; `refuse` injects a busy or a poor world."""

    def __init__(self) -> None:
        self.keys: dict[State, bytes] = {}
        self.carried: dict[State, int] = {}
        self.refuse: Callable[[State | Policy], int] = lambda _thing: 0  # errno to answer with instead of acting
        self._policies: dict[tuple[object, ...], Policy] = {}

    def close(self) -> None:
        """Nothing is held."""

    def states(self) -> Mapping[State, int]:
        return {state: self.carried.get(state, 0) for state in self.keys}

    def add_state(self, state: State, key: bytes) -> None:
        self._check(state, "add")
        if len(key) not in KEY_LENGTHS:
            raise KernelError(errno.EINVAL, "add")
        if self._same(state) is not None:
            raise KernelError(errno.EEXIST, "add")
        self.keys[state] = key

    def remove_state(self, state: State) -> None:
        self._check(state, "remove")
        found = self._same(state)
        if found is None:
            raise KernelError(errno.ESRCH, "remove")
        del self.keys[found]

    def policies(self) -> list[Policy]:
        return list(self._policies.values())

    def put_policy(self, policy: Policy, *, known: bool = False) -> None:
        self._check(policy, "enter")
        if _selector(policy) in self._policies and not known:
            raise KernelError(errno.EEXIST, "enter")
        self._policies[_selector(policy)] = policy

    def remove_policy(self, policy: Policy) -> None:
        self._check(policy, "remove")
        if self._policies.pop(_selector(policy), None) is None:
            raise KernelError(errno.ENOENT, "remove")

    def _same(self, state: State) -> State | None:
        return next((each for each in self.keys if (each.target, each.spi) == (state.target, state.spi)), None)

    def _check(self, thing: State | Policy, what: str) -> None:
        if number := self.refuse(thing):
            raise KernelError(number, what)


def _selector(policy: Policy) -> tuple[object, ...]:
    return policy.direction, policy.source, policy.target, policy.if_id
