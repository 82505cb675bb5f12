"""XFRM of the running kernel: the real half of the port. Blocking."""

import errno
import threading
from collections.abc import Mapping

from clew.base.addresses import family_of
from clew.kernel.errors import KernelError
from clew.kernel.netns import Namespace
from clew.kernel.nfnetlink import NETLINK_XFRM, Channel
from clew.kernel.xfrm import wire
from clew.kernel.xfrm.port import Policy, State

NO_XFRM = "this kernel has no XFRM (CONFIG_XFRM_USER, module xfrm_user)"
NO_ESP = {
    4: "this kernel has no ESP (CONFIG_INET_ESP, module esp4)",
    6: "this kernel has no ESP over IPv6 (CONFIG_INET6_ESP, module esp6)",
}
NO_GCM = "this kernel has no AES-GCM (CONFIG_CRYPTO_GCM, module gcm)"


class KernelXfrm:
    """`ns`: the network namespace to work in (path or descriptor); None: the calling thread's own."""

    def __init__(self, ns: Namespace | None = None) -> None:
        self._ns = ns
        self._opened: Channel | None = None  # nobody pays for a socket who encrypts nothing
        self._lock = threading.Lock()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def port(self) -> int:
        """By which events name us; 0 as long as nothing was asked."""
        return self._opened.port if self._opened is not None else 0

    def states(self) -> Mapping[State, int]:
        found = map(wire.read_state, self._dump(wire.GET_STATE, "read XFRM states"))
        return dict(each for each in found if each is not None)

    def add_state(self, state: State, key: bytes) -> None:
        what = f"add the XFRM state {state.spi:#010x} to {state.target}"
        try:
            self._ask(wire.NEW_STATE, wire.add_state(state, key), what)
        except KernelError as refusal:
            missing = {errno.EPROTONOSUPPORT: NO_ESP[family_of(state.target)], errno.ENOSYS: NO_GCM}
            if refusal.number not in missing:
                raise
            raise KernelError(errno.EOPNOTSUPP, what, detail=missing[refusal.number]) from None

    def remove_state(self, state: State) -> None:
        what = f"remove the XFRM state {state.spi:#010x} to {state.target}"
        self._ask(wire.DELETE_STATE, wire.name_state(state), what)

    def policies(self) -> list[Policy]:
        found = map(wire.read_policy, self._dump(wire.GET_POLICY, "read XFRM policies"))
        return [each for each in found if each is not None]

    def put_policy(self, policy: Policy, *, known: bool = False) -> None:
        kind = wire.UPDATE_POLICY if known else wire.NEW_POLICY
        self._ask(kind, wire.put_policy(policy), f"enter the XFRM policy {_named(policy)}")

    def remove_policy(self, policy: Policy) -> None:
        self._ask(wire.DELETE_POLICY, wire.name_policy(policy), f"remove the XFRM policy {_named(policy)}")

    def _ask(self, kind: int, body: bytes, what: str) -> None:
        with self._lock:
            self._channel(what).call(kind, body, what)

    def _dump(self, kind: int, what: str) -> list[bytes]:
        with self._lock:
            return self._channel(what).listing(kind, b"", what)

    def _channel(self, what: str) -> Channel:
        if self._opened is None:
            try:
                self._opened = Channel(self._ns, NETLINK_XFRM)
            except OSError as refusal:
                raise KernelError(errno.EOPNOTSUPP, what, detail=NO_XFRM) from refusal
        return self._opened


def _named(policy: Policy) -> str:
    return f"{policy.direction} {policy.source} > {policy.target}"
