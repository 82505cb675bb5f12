"""`clew dns`: a Corefile to a running server. The composition root of the `coredns` Deployment."""

import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path

from clew import __version__
from clew.app.dns_feed import Feed, client_for
from clew.base.clock import Clock, SystemClock
from clew.base.errors import UserError
from clew.base.metrics import Registry
from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.chain import Answer, Context, Plugin, Site, link
from clew.servers.dns.corefile import ServerBlock, Word, parse
from clew.servers.dns.plugins import build
from clew.servers.dns.plugins.health import Health
from clew.servers.dns.plugins.kubernetes import Kubernetes, Watching
from clew.servers.dns.server import Listener, Route, bind
from clew.servers.dns.wire import Query, Response


class DnsOptions(Value):
    conf: Path
    port: int = 53  # of server blocks that name none
    host: str = ""  # "": every address, IPv6 and IPv4
    kubeconfig: str = ""  # "": the service account's files


def _zone_and_port(key: Word, default: int) -> tuple[str, int]:
    """`.:53`, `example.org`, `dns://example.org:1053`; a trailing dot of the zone is no matter."""
    text = key.text.removeprefix("dns://")
    zone, colon, port = text.rpartition(":")
    if not colon:
        zone, port = text, str(default)
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise key.error(f"{port!r} is not a port", "write 1 to 65535 after the colon")
    try:
        wire.name_to_wire(zone)
    except ValueError as wrong:
        raise key.error(str(wrong)) from None
    return zone.removesuffix(".").lower(), int(port)


class Generation:
    """One Corefile at work: its plugins and, for each port, the routes into their chains."""

    def __init__(self, text: str, options: DnsOptions, context: Context) -> None:
        self.text = text
        self.plugins: list[Plugin] = []
        self.routes: dict[int, list[Route]] = {}
        for block in parse(text):
            self._add(block, options, context)

    def _add(self, block: ServerBlock, options: DnsOptions, context: Context) -> None:
        keys = [_zone_and_port(key, options.port) for key in block.keys]
        site = Site(tuple(zone for zone, _ in keys), keys[0][1], f"dns://:{keys[0][1]}")
        plugins = build(block, site, context)
        handler = link(plugins)
        self.plugins += plugins
        for zone, port in keys:
            self.routes.setdefault(port, []).append(Route(wire.name_to_wire(zone), handler))

    @property
    def kubernetes(self) -> list[Kubernetes]:
        return [plugin for plugin in self.plugins if isinstance(plugin, Kubernetes)]

    @property
    def lameduck(self) -> float:
        return max((plugin.lameduck for plugin in self.plugins if isinstance(plugin, Health)), default=0.0)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def own_addresses() -> frozenset[str]:
    """The machine's, or the pod's, own addresses, as far as its name leads to them."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_DGRAM)
    except OSError:
        return frozenset()
    return frozenset(str(address[0]).partition("%")[0] for *_, address in found)


class Program:
    """The listeners, and the generation that answers through them."""

    def __init__(self, options: DnsOptions, clock: Clock | None = None) -> None:
        self.options = options
        self.context = Context(clock or SystemClock(), Registry(), _say)
        self.context.corefile_changed = self._reload
        self.context.ask = self._ask
        self.feeds: dict[Watching, Feed] = {}
        self.listeners: dict[int, Listener] = {}
        self.generation = Generation(self._read(), options, self.context)
        self._replaced = asyncio.Event()
        self._watches: dict[Watching, asyncio.Task[None]] = {}

    def _read(self) -> str:
        try:
            return self.options.conf.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot read {self.options.conf}: {error.strerror}", "name a Corefile by --conf") from None

    def _ask(self, port: int, query: Query) -> Answer:
        listener = self.listeners.get(port)
        return listener.ask(query) if listener else Response(rcode=wire.SERVFAIL)

    async def _reload(self) -> None:
        """A changed Corefile takes over whole, or not at all."""
        try:
            text = self._read()
            if text == self.generation.text:
                return
            fresh = Generation(text, self.options, self.context)
        except UserError as error:
            _say(f"[ERROR] plugin/reload: the Corefile is refused and the old one stays at work: {error}")
            return
        _say("[INFO] plugin/reload: the new Corefile is at work")
        self.generation = fresh
        self._replaced.set()

    async def _listen(self) -> None:
        wanted = self.generation.routes
        for port in self.listeners.keys() - wanted.keys():
            await self.listeners.pop(port).stop()
        for port, routes in wanted.items():
            if port in self.listeners:
                self.listeners[port].use(routes)
                continue
            listener = Listener(routes)
            host = self.options.host or "::"
            await listener.start([bind(host, port, socket.SOCK_DGRAM)], [bind(host, port, socket.SOCK_STREAM)])
            self.listeners[port] = listener

    def _watch(self, group: asyncio.TaskGroup) -> None:
        """One feed for each way of watching; those that go on being wanted keep what they know."""
        plugins = self.generation.kubernetes
        wanted = {plugin.options.watching for plugin in plugins}
        for watching in self.feeds.keys() - wanted:
            del self.feeds[watching]
            self._watches.pop(watching).cancel()
        for watching in wanted - self.feeds.keys():
            feed = Feed(watching, own_addresses(), self.context.clock, self.context.registry)
            self.feeds[watching] = feed
            client = client_for(watching, self.options.kubeconfig)
            self._watches[watching] = group.create_task(feed.run(client))
        for watching, feed in self.feeds.items():
            feed.serve(plugin for plugin in plugins if plugin.options.watching == watching)

    async def _synced(self) -> None:
        """Give the first list a moment before the first question, so that a start is no hail of SERVFAIL."""
        patience = max((plugin.options.startup_timeout for plugin in self.generation.kubernetes), default=0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                for feed in self.feeds.values():
                    await feed.wait_synced()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._replaced.clear()
                self._watch(group)
                running = [group.create_task(plugin.run()) for plugin in self.generation.plugins]
                await self._synced()
                await self._listen()
                await self._replaced.wait()
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    async def stop(self) -> None:
        for listener in self.listeners.values():
            await listener.stop()


async def serve(options: DnsOptions) -> None:
    """Run until SIGTERM or SIGINT, then go on answering for the lameduck time of `health`."""
    program = Program(options)
    _say(f"clew-dns {__version__}")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.ensure_future(program.run())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        await asyncio.wait({running}, timeout=program.generation.lameduck)
    finally:
        running.cancel()
        stopping.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)
        await program.stop()


def main(options: DnsOptions) -> None:
    """The process; UserError for a Corefile that is refused, OSError for a port that cannot be had."""
    import uvloop  # noqa: PLC0415 - only the running server needs it

    uvloop.run(serve(options))
