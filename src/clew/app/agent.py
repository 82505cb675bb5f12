"""`clew agent`: everything of Clew that runs on a node, in one process. The composition root of the agent's DaemonSet.

State is the journal of attachments and the kernel. A start reads both, adopts what is there and repairs what differs;
a stop, however it comes, leaves the data plane as it is and forwarding.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from clew.api import kinds
from clew.app import agent_config, agent_dns, kube_proxy_defaults
from clew.app.agent_config import AgentOptions, Configuration
from clew.app.agent_dns import DnsPart
from clew.app.agent_network import NetworkPart
from clew.app.agent_pools import AddressPart
from clew.app.agent_proxy import ProxyPart, refuse_company
from clew.app.process_metrics import process_metrics
from clew.base.clock import Clock, SystemClock
from clew.base.errors import UserError, refusal_among
from clew.base.metrics import Registry
from clew.facts import endpointslice, service, servicecidr
from clew.facts import node as node_facts
from clew.kernel.netlink import AddressChanged, Monitor
from clew.node import cni_server, install, proxy_modes
from clew.node.attachments import Attachments
from clew.node.cni_calls import CniCalls
from clew.node.install import CniPaths
from clew.node.journal import Journal
from clew.node.proxy import ProxyTables
from clew.node.service_ranges import ServiceRanges
from clew.node.spool import Spool
from clew.store.table import Table
from clew.watch.client import Client
from clew.watch.reflector import Reflector

logger = logging.getLogger(__name__)

VERBOSE = 4  # kube-proxy's -v from which on its log is for debugging

T = TypeVar("T")
Decode = Callable[[bytes], tuple[tuple[str, str], T | None]]


class Agent:
    """One node's parts, made in the order in which they depend on each other; `run` sets them going."""

    def __init__(self, options: AgentOptions, configuration: Configuration, clock: Clock) -> None:
        agent = configuration.agent
        self._configuration = configuration
        self._clock = clock
        self._node = options.node
        self.registry = Registry()
        process_metrics(self.registry)
        self._paths = CniPaths(
            bin_dir=Path(agent.cni_bin_dir),
            config_file=Path(agent.cni_conf_file),
            socket=Path(agent.socket_path),
            spool=Path(agent.state_dir, "spool"),
            network=agent.network_name,
        )
        self._tables = ProxyTables(Table("services"), Table("endpointslices"), Table("nodes"), ServiceRanges())
        kubeconfig = agent.kubeconfig or configuration.proxy.client_connection.kubeconfig
        self._client = api_client(kubeconfig, options.master)
        self._journal = Journal(Path(agent.state_dir, "attachments.log"))
        self._addresses = AddressPart(options.node, agent, self._tables, clock, self._client)
        self._attachments = Attachments(self._journal, self._addresses.ipam)
        self._part = NetworkPart(
            options, configuration, self._tables.nodes, self._attachments.table, self._addresses.ipam, clock
        )
        self._network = self._part.network
        spool = Spool(self._paths.spool)
        self._calls = CniCalls(self._attachments, self._network, spool, self._addresses.lookup, self.registry)
        self.proxy = ProxyPart(options.node, configuration, self._tables, clock, self.registry)
        self.dns = DnsPart(agent.dns, self._tables, self._attachments.table, clock, self.registry)

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        monitor = Monitor()
        self._calls.adopt()
        client = self._client

        def heard() -> None:
            events = monitor.drain()
            self._network.notice(events)
            self.dns.notice(events)
            for event in events:
                if isinstance(event, AddressChanged) and event.gone:
                    client.leave(event.address.partition("/")[0])

        loop.add_reader(monitor.fileno(), heard)
        try:
            async with client, asyncio.TaskGroup() as group:
                for part in (*self._part.tasks(client), *self.proxy.tasks(client), *self.dns.tasks(client)):
                    group.create_task(part)
                group.create_task(self._reflect(client, kinds.NODE, node_facts.decode, self._tables.nodes))
                group.create_task(self._reflect(client, kinds.SERVICE, service.decode, self._tables.services))
                group.create_task(
                    self._reflect(client, kinds.ENDPOINT_SLICE, endpointslice.decode, self._tables.slices)
                )
                group.create_task(self._reflect_ranges(client))
                group.create_task(self._serve_cni())
                group.create_task(self._announce())
                for part in self._addresses.tasks(self._attachments, self.registry):
                    group.create_task(part)
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()
            self._journal.close()

    def _reflect(
        self, client: Client, kind: kinds.Kind, decode: Decode[T], table: Table[T]
    ) -> Coroutine[Any, Any, None]:
        return Reflector(client, kind, decode, table, clock=self._clock, health=self.dns.health(kind)).run()

    def _reflect_ranges(self, client: Client) -> Coroutine[Any, Any, None]:
        ranges = self._tables.ranges
        return Reflector(
            client, kinds.SERVICE_CIDR, servicecidr.decode, ranges.table, clock=self._clock, health=ranges.heard
        ).run()

    async def _serve_cni(self) -> None:
        """The socket opens when what a former agent left is in order."""
        await self._calls.start()
        listener = cni_server.listen(self._paths.socket)
        with contextlib.closing(listener):
            await cni_server.serve(listener, self._calls)

    async def _announce(self) -> None:
        """For ever. The plugin at once, the configuration that makes the node ready when pods can be attached."""
        install.install_plugin(self._paths)
        await self._network.ready.wait()
        install.install_configuration(self._paths)
        logger.info("pod network ready: %s", ", ".join(self._network.ranges) or "no block yet")
        await install.keep(self._paths, self._clock)


async def serve(options: AgentOptions) -> None:
    """Run until SIGTERM or SIGINT."""
    configuration = agent_config.load(options)
    options = msgspec.structs.replace(options, node=agent_config.node_name(options, configuration))
    if configuration.proxy.verbosity >= VERBOSE:
        logging.getLogger("clew").setLevel(logging.DEBUG)
    for flag in configuration.passed_over:
        logger.warning("%s does not count: the file has a KubeProxyConfiguration", flag)
    for field in configuration.proxy.ignored:
        logger.warning("KubeProxyConfiguration: %s is set, and nothing depends on it here", field)
    await refuse_company(configuration)
    agent = Agent(options, configuration, SystemClock())
    agent.proxy.initialise()
    agent.dns.initialise()
    if options.init_only:
        return
    running = asyncio.ensure_future(agent.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        logger.info("stopped; the data plane stays as it is")
    except BaseExceptionGroup as failures:
        raise refusal_among(failures, UserError) from None


def api_client(kubeconfig: str, master: str) -> Client:
    """As kube-proxy finds its API server: `master`, a URL, replaces a kubeconfig's, and needs none."""
    if not master:
        return Client.from_kubeconfig(kubeconfig) if kubeconfig else Client.in_cluster()
    from clew.watch.credentials import tls_context  # noqa: PLC0415 - TLS and YAML, which few agents need
    from clew.watch.kubeconfig import load  # noqa: PLC0415 - likewise

    if not master.startswith(("https://", "http://")):
        raise UserError(f"--master: {master!r} is no URL", "write it as https://192.0.2.1:6443")
    if kubeconfig:
        return Client.of(load(kubeconfig)._replace(server=master))
    return Client(master, ssl=tls_context() if master.startswith("https:") else None)


def write_configuration(options: AgentOptions, path: Path) -> None:
    """The service proxy's whole configuration, with what is assumed where nothing was said, as a file."""
    text = kube_proxy_defaults.text(agent_config.load(options).proxy)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as refused:
        raise UserError(f"--write-config-to: cannot write {path}: {refused.strerror}", "name another file") from refused


def cleanup(options: AgentOptions) -> None:
    """Take the rules of every proxy mode, and the DNS fast path, out of this network.

    UserError where a proxy is alive there: rules of the same names are its own, and it would put them back.
    """
    asyncio.run(refuse_company(agent_config.load(options)))
    proxy_modes.remove_all()
    agent_dns.remove()


def main(options: AgentOptions) -> None:
    """The process; UserError where the configuration or the machine has to be changed first."""
    import uvloop  # noqa: PLC0415 - only the running agent needs it

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    uvloop.run(serve(options))
