"""`clew dns`: a Corefile to a running server. The composition root of the `coredns` Deployment."""

import asyncio
import contextlib
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import AsyncExitStack

from clew import __version__
from clew.app.dns_feed import Feed, client_for
from clew.app.dns_generation import DnsOptions, Generation, Place, arguments
from clew.app.dns_local import LocalAddresses
from clew.app.dns_workers import Workers, follow
from clew.app.process_metrics import process_metrics
from clew.base.clock import Clock, SystemClock
from clew.base.errors import UserError, WorldError, refusal_among
from clew.base.metrics import Registry
from clew.servers.dns import wire
from clew.servers.dns.chain import Address, Answer, Context
from clew.servers.dns.plugins.kubernetes import Watching  # noqa: TC001 - keys of the program's own tables
from clew.servers.dns.server import Listener, bind_all
from clew.servers.dns.wire import Query, Response
from clew.servers.pages import Page, listening

__all__ = ["DnsOptions", "Generation", "Program", "main", "serve"]


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
        self.workers = Workers(options.workers - 1) if options.leader < 0 and options.workers > 1 else None
        if self.workers:
            self.context.metrics = self._metrics
        self.feeds: dict[Watching, Feed] = {}
        self.listeners: dict[Place, Listener] = {}
        self.generation = self._made(self._read())
        self.on_serving: Callable[[], None] = lambda: None  # called when the sockets of a Corefile are open
        self._replaced = asyncio.Event()
        self._boards: dict[Address, tuple[dict[str, Callable[[], Page]], AsyncExitStack]] = {}
        self._panics = self.context.registry.counter("coredns_panics_total", "Defects that a question showed.")
        self.context.on_stale(self._stale)
        self._failed_reloads = self.context.registry.counter("coredns_reload_failed_total", "Corefiles refused.")
        process_metrics(self.context.registry)
        self.context.registry.before_render(self._refresh)
        self._watches: dict[Watching, asyncio.Task[None]] = {}

    def _stale(self, tokens: Collection[bytes] | None) -> None:
        for listener in self.listeners.values():
            listener.stale(tokens)

    def _refresh(self) -> None:
        count = sum(listener.quick_answers for listener in self.listeners.values())
        took = sum(listener.quick_time for listener in self.listeners.values())
        self.generation.context.quick_seconds = took / count if count else 0.0
        for refresh in self.generation.context.refreshes:
            refresh()

    def _metrics(self) -> str:
        own = self.context.registry.render()
        return self.workers.metrics(own) if self.workers else own

    def ready(self) -> bool:
        return all(check() for check in self.generation.context.readiness.values())

    def _defect(self, error: Exception) -> None:
        self._panics.add()
        _say("[ERROR] a defect: " + "".join(traceback.format_exception(error)))

    def _made(self, text: str) -> Generation:
        """A Corefile put together, ready when the sockets are open and the workers are."""
        generation = Generation(text, self.options, self.context)
        generation.context.readiness["sockets"] = lambda: bool(self.listeners)
        if self.workers:
            generation.context.readiness["workers"] = lambda: bool(self.workers and self.workers.ready)
        return generation

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
            fresh = self._made(text)
            await self._open_pages(fresh)
            await self._open_listeners(fresh)
        except UserError as error:
            await self._close_unwanted()
            self._failed_reloads.add()
            _say(f"[ERROR] plugin/reload: the Corefile is refused and the old one stays at work: {error}")
            return
        self._refresh()  # what the old plugins counted
        _say("[INFO] plugin/reload: the new Corefile is at work")
        self.generation = fresh
        self._replaced.set()

    async def _open_pages(self, generation: Generation) -> None:
        """Addresses of pages that are not served yet; UserError where one cannot be had."""
        for address, pages in generation.context.pages.items():
            if address not in self._boards and self.options.leader < 0:
                board, stack = dict(pages), AsyncExitStack()
                with _refusal(*address):
                    await stack.enter_async_context(listening(*address, board))
                self._boards[address] = (board, stack)

    async def _open_listeners(self, generation: Generation) -> None:
        """Places that are not listened at yet; UserError where one cannot be had."""
        for place, routes in generation.routes.items():
            if place not in self.listeners:
                listener = Listener(routes, self._defect)
                with _refusal(*place):
                    await listener.start(*bind_all(*place, shared=self.options.workers > 1))
                self.listeners[place] = listener

    async def _adopt(self) -> None:
        """All that is open serves this generation now; what it does not want is closed."""
        await self._open_listeners(self.generation)
        await self._close_unwanted()
        for place, listener in self.listeners.items():
            listener.use(self.generation.routes[place])
        for address, (board, _) in self._boards.items():
            board.clear()
            board.update(self.generation.context.pages[address])

    async def _close_unwanted(self) -> None:
        for place in self.listeners.keys() - self.generation.routes.keys():
            await self.listeners.pop(place).stop()
        for address in self._boards.keys() - self.generation.context.pages.keys():
            await self._boards.pop(address)[1].aclose()

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
        """Serve until cancelled; UserError for an address that cannot be had."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._open_pages(self.generation)
                if self.workers:
                    group.create_task(self.workers.run(arguments(self.options)))
                if self.options.leader >= 0:
                    group.create_task(self._follow())
                while True:
                    await self._generation(group)
        except BaseExceptionGroup as several:
            raise refusal_among(several, UserError, WorldError) from None

    async def _follow(self) -> None:
        await follow(self.options.leader, self.context.registry.render, self.ready)
        raise WorldError("the leading process is gone")

    async def _generation(self, group: asyncio.TaskGroup) -> None:
        """One Corefile's life, to the next one."""
        self._replaced.clear()
        self._watch(group)
        running = [group.create_task(plugin.run()) for plugin in self.generation.plugins]
        await self._synced()
        await self._adopt()
        self.on_serving()
        await self._replaced.wait()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def stop(self) -> None:
        for listener in self.listeners.values():
            await listener.stop()
        for _, stack in self._boards.values():
            await stack.aclose()


@contextlib.contextmanager
def _refusal(host: str | None, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f"{host or ''}:{port}"
        raise UserError(f"cannot listen on {where}: {error.strerror or error}", "free it or name another") from None


async def serve(options: DnsOptions, local: LocalAddresses) -> None:
    """Run until SIGTERM or SIGINT, then go on answering for the lameduck time of `health`."""
    program = Program(options)
    program.on_serving = local.take
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
        local.release()
        await asyncio.wait({running}, timeout=program.generation.lameduck)
    finally:
        running.cancel()
        stopping.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)
        await program.stop()


def main(options: DnsOptions) -> None:
    """The process; UserError for a Corefile that is refused or an address that cannot be had."""
    import uvloop  # noqa: PLC0415 - only the running server needs it

    with LocalAddresses(options.local) as local:
        uvloop.run(serve(options, local))
