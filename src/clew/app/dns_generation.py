"""One Corefile put together: its plugins, the routes into their chains, their pages. Called by app.dns."""

from pathlib import Path

from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.arguments import zones_and_port
from clew.servers.dns.chain import Context, Plugin, Site, link
from clew.servers.dns.corefile import ServerBlock, Word, parse
from clew.servers.dns.plugins import build
from clew.servers.dns.plugins.bind import Bind
from clew.servers.dns.plugins.chaos import Chaos
from clew.servers.dns.plugins.forward import Forward
from clew.servers.dns.plugins.health import Health
from clew.servers.dns.plugins.kubernetes import Kubernetes
from clew.servers.dns.server import Route


class DnsOptions(Value):
    conf: Path
    port: int = 53  # of server blocks that name none
    host: str = ""  # "": every address, IPv6 and IPv4
    local: tuple[str, ...] = ()  # addresses that this node takes questions on while the server runs
    workers: int = 1  # processes behind each address, this one included
    leader: int = -1  # a worker's descriptor to the process that leads; -1: this one does
    kubeconfig: str = ""  # "": the service account's files


Place = tuple[str, int]  # an address and a port to listen on


def arguments(options: DnsOptions) -> list[str]:
    """The command line of a worker."""
    return [
        "--conf", str(options.conf), "--port", str(options.port), "--workers", str(options.workers),
        *(["--kubeconfig", options.kubeconfig] if options.kubeconfig else []),
    ]  # fmt: skip


class Generation:
    """One Corefile at work: its plugins and, for each address and port, the routes into their chains."""

    def __init__(self, text: str, options: DnsOptions, context: Context) -> None:
        self.text = text
        self.context = context = context.fresh()
        self.plugins: list[Plugin] = []
        self.routes: dict[Place, list[Route]] = {}
        self._taken: set[tuple[Place, str]] = set()
        for block in parse(text, options.conf.parent):
            self._add(block, options, context)

    def _add(self, block: ServerBlock, options: DnsOptions, context: Context) -> None:
        keys = [(key, *zones_and_port(key, options.port)) for key in block.keys]
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
