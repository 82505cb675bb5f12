"""The proxy itself: listening sockets by way, and everything that goes through them.

Sockets are opened by whoever applies a change (any thread); connections live on the loop of `run`. A way that goes
closes its listening socket; what it connected runs on until it ends by itself.
"""

import asyncio
import contextlib
import errno
import random
import socket
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clew.base.addresses import Family
from clew.base.clock import Clock
from clew.dataplane.userspace.choice import Choice
from clew.dataplane.userspace.datagram import IDLE_SECONDS, DatagramWay
from clew.dataplane.userspace.objects import At, Way, WayKey
from clew.dataplane.userspace.stream import Connection
from clew.ir.balancing import Protocol
from clew.kernel.errors import KernelError

OpenSocket = Callable[[int, int], socket.socket]  # family and kind, in the right network namespace
FAMILIES: Mapping[Family, int] = {4: socket.AF_INET, 6: socket.AF_INET6}
ANYWHERE: Mapping[Family, str] = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - redirected packets come to any of our addresses
KINDS: Mapping[Protocol, int] = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
BACKLOG = 4096
ACCEPTS = 64  # connections taken in one go, so that others get their turn
DIAL_SECONDS = (0.25, 0.5, 1.0, 2.0)  # for the first, second, … attempt; kube-proxy's
PORTS = range(20000, 30000)  # below node ports and those that clients get
TRIES = 20
REFUSED_PAUSE = 1.0  # seconds without accepting when the process has no descriptors left


@dataclass
class Gate:
    """One way's listening socket and what is known of it."""

    key: WayKey
    way: Way
    listener: socket.socket
    port: int
    datagrams: DatagramWay | None = None


@dataclass
class Totals:
    connections: int = 0
    retries: int = 0
    failures: int = 0  # connections for which no backend was found


@dataclass
class Forwarder:
    """One family's. `opened` makes a socket; `most`: ways it may listen for, so that clients find descriptors too."""

    family: Family
    opened: OpenSocket
    clock: Clock
    most: int = 1 << 16
    gates: dict[WayKey, Gate] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    live: set[Connection] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._choices: dict[str, Choice] = {}
        self._taken: set[tuple[Protocol, int]] = set()  # by the gates
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: asyncio.TaskGroup | None = None

    @property
    def ports(self) -> dict[WayKey, int]:
        return {key: gate.port for key, gate in self.gates.items()}

    @property
    def ways(self) -> dict[WayKey, Way]:
        return {key: gate.way for key, gate in self.gates.items()}

    def offer(self, ways: Mapping[WayKey, Way], wished: Mapping[WayKey, int]) -> KernelError | None:
        """Have these ways, and listen for the new ones, at the wished port if that is free.

        Why a way has no socket and so is not there, where that is so; it keeps the others from nothing.
        """
        refused = None
        for key, way in ways.items():
            gate = self.gates.get(key)
            if gate is None:
                if refused is not None:
                    continue  # what one cannot have, sockets or ports, none of the others can
                try:
                    listener, port = self._listen_somewhere(key, wished.get(key, 0))
                except KernelError as error:
                    refused = error
                    continue
                gate = self.gates[key] = Gate(key, way, listener, port)
                self._taken.add((key.protocol, port))
                self._soon(self._learn, gate)
                self._soon(self._start, gate)
            gate.way = way
            self._soon(self._learn, gate)
        return refused

    def withdraw(self, ways: Mapping[WayKey, Way]) -> None:
        """Have no others than these any more."""
        for key in [key for key in self.gates if key not in ways]:
            gate = self.gates.pop(key)
            self._taken.discard((key.protocol, gate.port))
            self._soon(self._stop, gate)

    def hold(self, protocol: Protocol, port: int) -> socket.socket:
        """A node port, so that it is seen and nobody else takes it. KernelError: somebody has it."""
        return self._listen(protocol, port)

    async def run(self) -> None:
        """Serve until cancelled; then nothing is left open."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for gate in list(self.gates.values()):
                    self._start(gate)
                while True:
                    await self.clock.sleep(IDLE_SECONDS / 2)
                    for gate in list(self.gates.values()):
                        if gate.datagrams is not None:
                            gate.datagrams.expire()
        finally:
            self._group = None
            for gate in list(self.gates.values()):
                self._pause(gate)
            for connection in list(self.live):
                connection.close()
            self._loop = None

    def close(self) -> None:
        """Close what listens; after `run` has ended."""
        self.withdraw({})

    def _soon(self, action: Callable[..., None], *arguments: object) -> None:
        """On the loop, where connections live; without one nobody else looks at anything."""
        if self._loop is None:
            action(*arguments)
        else:
            self._loop.call_soon_threadsafe(action, *arguments)

    def _listen_somewhere(self, key: WayKey, wished: int) -> tuple[socket.socket, int]:
        """At the wished port, or one that the way's name leads to, or else at any: rules then outlive an agent."""
        if len(self.gates) >= self.most:
            limit = f"the limit of open files leaves {self.most} for services; raise it (systemd: LimitNOFILE)"
            raise KernelError(errno.EMFILE, f"listen for {key.origin}", detail=limit)
        start = zlib.crc32(str(key).encode())
        named = [PORTS.start + (start + number) % len(PORTS) for number in range(TRIES)]
        for port in (*([wished] if wished else []), *named):
            if (key.protocol, port) not in self._taken:
                with contextlib.suppress(KernelError):
                    return self._listen(key.protocol, port), port
        listener = self._listen(key.protocol, 0)
        return listener, listener.getsockname()[1]

    def _listen(self, protocol: Protocol, port: int) -> socket.socket:
        doing = f"listen on {protocol} port {port} of the node"
        try:
            opened = self.opened(FAMILIES[self.family], KINDS[protocol])
        except OSError as refused:
            raise KernelError(refused.errno or 0, doing) from refused
        opened.setblocking(False)
        try:
            if protocol == "TCP":
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # an agent may overlap with its successor
            if self.family == 6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind((ANYWHERE[self.family], port))
            if protocol == "TCP":
                opened.listen(BACKLOG)
        except OSError as refused:
            opened.close()
            raise KernelError(refused.errno or 0, doing) from refused
        return opened

    def _learn(self, gate: Gate) -> None:
        way = gate.way
        self._choices.setdefault(gate.key.origin, Choice(random.shuffle)).learn(gate.key.policy, way)
        if gate.datagrams is not None:
            gate.datagrams.keep_only(frozenset((*way.backends, *way.others)))

    def _start(self, gate: Gate) -> None:
        if self._loop is None or gate.listener.fileno() < 0 or gate.datagrams is not None:
            return
        if gate.key.protocol == "UDP":
            gate.datagrams = DatagramWay(
                self._loop, gate.listener, lambda client: self._dial_datagrams(gate, client), self.clock
            )
        else:
            self._loop.add_reader(gate.listener, self._accept, gate)

    def _pause(self, gate: Gate) -> None:
        if gate.datagrams is not None:
            gate.datagrams.close()
            gate.datagrams = None
        elif self._loop is not None and gate.listener.fileno() >= 0:
            self._loop.remove_reader(gate.listener)

    def _stop(self, gate: Gate) -> None:
        self._pause(gate)
        gate.listener.close()
        choice = self._choices.get(gate.key.origin)
        if choice is not None and gate.key not in self.gates:
            choice.forget(gate.key.policy)
            if not choice:
                del self._choices[gate.key.origin]

    def _accept(self, gate: Gate) -> None:
        for _ in range(ACCEPTS):
            try:
                client, address = gate.listener.accept()
            except BlockingIOError:
                return
            except OSError as refused:
                if refused.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM} and self._loop is not None:
                    self._loop.remove_reader(gate.listener)
                    self._loop.call_later(REFUSED_PAUSE, self._start, gate)
                return
            client.setblocking(False)
            if self._group is not None:
                self._group.create_task(self._connect(gate, client, address[0]))

    async def _connect(self, gate: Gate, client: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            server = await self._dial(gate, address)
        except BaseException:
            client.close()
            raise
        if server is None:
            self.totals.failures += 1
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # say it by a reset
            client.close()
            return
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.totals.connections += 1
        self.live.add(Connection(loop, client, server, self.live.discard))

    async def _dial(self, gate: Gate, address: str) -> socket.socket | None:
        """A connection to the first backend that answers: each is tried once, four at most."""
        choice = self._choices.get(gate.key.origin)
        candidates = choice.candidates(gate.key.policy, address, self.clock.monotonic()) if choice else ()
        attempts = list(candidates) * len(DIAL_SECONDS)
        for number, (at, patience) in enumerate(zip(attempts, DIAL_SECONDS, strict=False)):
            self.totals.retries += number > 0
            server = self._socket(socket.SOCK_STREAM)
            if server is None:
                return None
            try:
                async with asyncio.timeout(patience):
                    await asyncio.get_running_loop().sock_connect(server, at)
            except (OSError, TimeoutError):
                server.close()
                continue
            except BaseException:
                server.close()
                raise
            if choice is not None:
                choice.chosen(address, at, self.clock.monotonic())
            return server
        return None

    def _socket(self, kind: int) -> socket.socket | None:
        """None where the process has no descriptors left: that is one client's trouble, not everybody's."""
        try:
            made = self.opened(FAMILIES[self.family], kind)
        except OSError:
            return None
        made.setblocking(False)
        return made

    def _dial_datagrams(self, gate: Gate, client: str) -> tuple[socket.socket, At] | None:
        choice = self._choices.get(gate.key.origin)
        if choice is None:
            return None
        for at in choice.candidates(gate.key.policy, client, self.clock.monotonic()):
            server = self._socket(socket.SOCK_DGRAM)
            if server is None:
                return None
            try:
                server.connect(at)
            except OSError:
                server.close()
                continue
            choice.chosen(client, at, self.clock.monotonic())
            return server, at
        return None
