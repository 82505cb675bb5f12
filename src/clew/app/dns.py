"""`clew dns`: a Corefile to a running server. The composition root of the `coredns` Deployment."""

import asyncio
import contextlib
import signal
import socket
import sys
import traceback
from collections.abc import Collection
from pathlib import Path

import msgspec

from clew import __version__
from clew.app.dns_feed import Feed, client_for
from clew.app.dns_local import local_addresses
from clew.base.clock import Clock, SystemClock
from clew.base.errors import UserError
from clew.base.metrics import Registry
from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.arguments import zones
from clew.servers.dns.chain import Answer, Context, Plugin, Site, link
from clew.servers.dns.corefile import ServerBlock, Word, parse
from clew.servers.dns.plugins import build
from clew.servers.dns.plugins.bind import Bind
from clew.servers.dns.plugins.chaos import Chaos
from clew.servers.dns.plugins.forward import Forward
from clew.servers.dns.plugins.health import Health
from clew.servers.dns.plugins.kubernetes import Kubernetes, Watching
from clew.servers.dns.server import Listener, Route, bind_all
from clew.servers.dns.wire import Query, Response


class DnsOptions(Value):
    conf: Path
    port: int = 53  # of server blocks that name none
    host: str = ""  # "": every address, IPv6 and IPv4
    local: tuple[str, ...] = ()  # addresses that this node takes questions on while the server runs
    kubeconfig: str = ""  # "": the service account's files


Place = tuple[str, int]  # an address and a port to listen on


def _zones_and_port(key: Word, default: int) -> tuple[tuple[str, ...], int]:
    """`.:53`, `example.org`, `dns://example.org:1053`, `10.0.0.0/24:53` (its reverse zones)."""
    scheme, _, text = key.text.rpartition("://")
    if scheme not in {"", "dns"}:
        raise key.error(f"{scheme}:// is not served", "only dns:// is; TLS is spoken to upstreams alone")
    zone, colon, port = text.rpartition(":")
    if not colon:
        zone, port = text, str(default)
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise key.error(f"{port!r} is not a port", "write 1 to 65535 after the colon")
    return zones([msgspec.structs.replace(key, text=zone)]), int(port)


class Generation:
    """One Corefile at work: its plugins and, for each address and port, the routes into their chains."""

    def __init__(self, text: str, options: DnsOptions, context: Context) -> None:
        self.text = text
        self.plugins: list[Plugin] = []
        self.routes: dict[Place, list[Route]] = {}
        self._taken: set[tuple[Place, str]] = set()
        for block in parse(text, options.conf.parent):
            self._add(block, options, context)

    def _add(self, block: ServerBlock, options: DnsOptions, context: Context) -> None:
        keys = [(key, *_zones_and_port(key, options.port)) for key in block.keys]
        names = tuple(zone for _, found, _ in keys for zone in found)
        port = keys[0][2]
        plugins = build(block, Site(names, port, f"dns://:{port}"), context)
        handler = link(plugins)
        quick = not any(plugin.every_query for plugin in plugins)
        chaos = any(isinstance(plugin, (Chaos, Forward)) for plugin in plugins)
        bound = [host for plugin in plugins if isinstance(plugin, Bind) for host in plugin.hosts]
        self.plugins += plugins
        for host in bound or [options.host]:
            for key, found, at in keys:
                for zone in found:
                    self._route((host, at), key, zone, Route(wire.name_to_wire(zone), handler, quick, chaos))

    def _route(self, place: Place, key: Word, zone: str, route: Route) -> None:
        if (place, zone) in self._taken:
            raise key.error(f"{zone or '.'} is served twice on port {place[1]}", "keep one server block for it")
        self._taken.add((place, zone))
        self.routes.setdefault(place, []).append(route)

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
        self.listeners: dict[Place, Listener] = {}
        self.generation = Generation(self._read(), options, self.context)
        self._replaced = asyncio.Event()
        self._panics = self.context.registry.counter("coredns_panics_total", "Defects that a question showed.")
        self.context.on_stale(self._stale)
        self.context.registry.before_render(self._quick_seconds)
        self._watches: dict[Watching, asyncio.Task[None]] = {}

    def _stale(self, tokens: Collection[bytes] | None) -> None:
        for listener in self.listeners.values():
            listener.stale(tokens)

    def _quick_seconds(self) -> None:
        count = sum(listener.quick_answers for listener in self.listeners.values())
        took = sum(listener.quick_time for listener in self.listeners.values())
        self.context.quick_seconds = took / count if count else 0.0

    def _defect(self, error: Exception) -> None:
        self._panics.add()
        _say("[ERROR] a defect: " + "".join(traceback.format_exception(error)))

    def _read(self) -> str:
        try:
            return self.options.conf.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot read {self.options.conf}: {error.strerror}", "name a Corefile by --conf") from None

    def _ask(self, port: int, query: Query) -> Answer:
        listener = next((each for (_, at), each in self.listeners.items() if at == port), None)
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
        for place in self.listeners.keys() - wanted.keys():
            await self.listeners.pop(place).stop()
        for place, routes in wanted.items():
            if place in self.listeners:
                self.listeners[place].use(routes)
                continue
            listener = Listener(routes, self._defect)
            await listener.start(*bind_all(*place))
            self.listeners[place] = listener

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

    with local_addresses(options.local):
        uvloop.run(serve(options))
