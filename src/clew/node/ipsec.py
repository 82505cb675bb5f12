"""A node's side of IPsec: the keys it was given, the epoch it is in, and what it tells the others of both.

An epoch is a random number. Every key is derived for the epochs of both ends, so whoever starts anew (a reboot, states
that somebody removed, a key that has encrypted enough) has keys that never were, and no nonce comes twice. The file
keeps the epoch and the SPIs of all states made in it, written before they are made: one that is in the file and not in
the kernel ends the epoch. Keys themselves are on no disk.

For FOLLOWING seconds after others could read of a new epoch packets still go out under the former one's states.

Used by the loop (`ring`, `applied`, `publish`) and, as the ledger of dataplane/overlay, by the worker that drives it.
"""

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clew.api import kinds
from clew.base.clock import Clock, happens_within
from clew.base.errors import Problem, WorldError
from clew.base.value import Value
from clew.compile.ipsec import Ring
from clew.facts.ipsec import ANNOTATION, NAMESPACE, Key, KeyRing, Standing
from clew.facts.node import Node
from clew.kernel import files
from clew.kernel.errors import KernelError
from clew.store.table import Table
from clew.watch.client import Client

logger = logging.getLogger(__name__)

RETRY = 1.0  # seconds between two tries to publish
HEARD = 0.1  # until what was published is heard of
# Seconds that others are given to follow, each at its own pace. They take in what comes under the former states for
# as long as GRACE of dataplane/overlay/esp.py after they have heard, so this is well below that.
FOLLOWING = 30.0
FORMER_KEYS = 8  # kept in memory after they left the Secret, for nodes that know no newer one
SALT = b"clew ipsec"


class _File(Value):
    epoch: str
    made: tuple[int, ...] = ()  # SPIs


class Identity:
    """`name` is the Secret's; `table` holds it, fed by a reflector."""

    def __init__(self, path: Path, name: str, table: Table[KeyRing]) -> None:
        self._path = path
        self._secret = (NAMESPACE, name)
        self._table = table
        self._lock = threading.Lock()
        self._keys: dict[str, Key] = {}  # by token, all that were ever in the Secret
        self._epoch, self._made = _load(path)
        self._former = ""
        self._applied: Standing | None = None
        self._listeners: list[Callable[[], None]] = []
        self._revision = 0
        table.on_change(self._changed)

    @property
    def revision(self) -> int:
        """Another one where `ring` may be another."""
        return self._revision

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener`, on the loop, when `ring` or `standing` is another, except for `renew`: its caller knows.

        Returns the function that ends it.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the Secret."""
        found = self._table.get(self._secret)
        if found is None and self._table.in_sync:
            return (Problem(f"Secret {'/'.join(self._secret)}", "metadata.name", "it is not there: no node has keys"),)
        return found.problems if found is not None else ()

    @property
    def ring(self) -> Ring:
        found = self._table.get(self._secret) or KeyRing()
        with self._lock:
            current = {key.token: key for key in found.keys}
            former = {token: key for token, key in self._keys.items() if token not in current}
            kept = dict(list(former.items())[-FORMER_KEYS:])
            self._keys = kept | current
            return Ring(self._epoch, self._former, tuple(current), tuple(kept))

    @property
    def standing(self) -> Standing | None:
        """What others may know: nothing before all states for it are in the kernel."""
        return self._applied

    def applied(self, standing: Standing) -> None:
        """Everything that others may rely on when they read this is in the kernel."""
        if self._table.in_sync and standing != self._applied:
            self._applied = standing
            self._tell()

    def followed(self, epoch: str) -> None:
        """Others have had their time: no packet needs the former epoch any more."""
        with self._lock:
            if not self._former or epoch != self._epoch:
                return
            self._former = ""
        self._changed()

    def key(self, token: str, purpose: str) -> bytes:
        """HKDF-SHA256 (RFC 5869) of the whole of the Secret's key, as long as that is: AES key and salt."""
        with self._lock:
            material = self._keys[token].material
        return HKDF(SHA256(), len(material), SALT, purpose.encode()).derive(material)

    def enter(self, spis: Collection[int]) -> frozenset[int]:
        """Those that are new in this epoch; on disk before this returns."""
        with self._lock:
            new = frozenset(spis) - self._made
            if new:
                _keep(self._path, self._epoch, self._made | new)
                self._made |= new
            return new

    def strike(self, spis: Collection[int]) -> None:
        with self._lock:
            _keep(self._path, self._epoch, self._made.difference(spis))
            self._made.difference_update(spis)

    def renew(self, reason: str) -> None:
        epoch = secrets.token_hex(16)
        with self._lock:
            _keep(self._path, epoch, set())
            told = self._applied is not None and self._applied.epoch == self._epoch
            if told or not self._former:  # of an epoch that was never told nobody has states
                self._former = self._epoch
            self._epoch, self._made = epoch, set()
            self._revision += 1
        logger.info("ipsec: a new epoch, since %s", reason)

    def _changed(self) -> None:
        with self._lock:
            self._revision += 1
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def _load(path: Path) -> tuple[str, set[int]]:
    """What cannot be read is as good as lost: a new epoch needs nothing of the old one."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError):
        return secrets.token_hex(16), set()
    return found.epoch, set(found.made)


def _keep(path: Path, epoch: str, made: set[int]) -> None:
    """KernelError where the disk refuses: then nothing is made either."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.replace(path, msgspec.json.encode(_File(epoch, tuple(sorted(made)))), 0o600)
    except OSError as problem:
        raise KernelError(problem.errno or 0, f"write {path}") from problem


async def publish(client: Client, nodes: Table[Node], name: str, identity: Identity, clock: Clock) -> None:
    """For ever: see to it that the Node says where this node stands, whoever takes it off."""
    changed = asyncio.Event()
    nodes.on_change(changed.set)
    identity.on_change(changed.set)
    said, told = "", ("", 0.0)  # an epoch, and when others could read of it
    while True:
        changed.clear()
        node, standing = nodes.get(("", name)), identity.standing
        if node is None or standing is None:
            await changed.wait()
            continue
        if node.ipsec == standing:
            told = told if told[0] == standing.epoch else (standing.epoch, clock.monotonic())
            await _wait_for_others(identity, told, changed, clock)
            continue
        try:
            await client.patch(kinds.NODE, name, _annotated(standing), field_manager="clew-agent")
            said = ""
            await clock.sleep(HEARD)
        except WorldError as trouble:
            if str(trouble) != said:
                said = str(trouble)
                logger.warning("cannot publish on Node %s where its IPsec stands: %s", name, said)
            await clock.sleep(RETRY)


async def _wait_for_others(identity: Identity, told: tuple[str, float], changed: asyncio.Event, clock: Clock) -> None:
    """Until something changes; the former epoch ends when others have had their time."""
    epoch, since = told
    if identity.ring.former and identity.ring.epoch == epoch:
        left = since + FOLLOWING - clock.monotonic()
        if left <= 0 or not await happens_within(changed, left, clock):
            identity.followed(epoch)
    else:
        await changed.wait()


def _annotated(standing: Standing) -> dict[str, object]:
    return {"metadata": {"annotations": {ANNOTATION: str(standing)}}}
