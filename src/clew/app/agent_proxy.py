"""The service proxy as a part of the agent: made from the configuration, with its pages, its Events and its one-shots.

It owns its names in the kernel as kube-proxy does, so it refuses to start where another live proxy serves the node.
Made and run by app/agent.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Coroutine
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec

from clew.app import configz
from clew.app.agent_config import Configuration
from clew.app.kube_proxy_settings import conntrack_sysctls, proxy_settings
from clew.base.clock import Clock
from clew.base.errors import UserError, WorldError
from clew.base.metrics import Registry
from clew.kernel.conntrack import KernelConntrack
from clew.kernel.sysctl import Sysctl
from clew.node import proxy_modes
from clew.node.health import Health
from clew.node.proxy import ProxyPorts, ProxyTables, ServiceProxy
from clew.node.proxy_events import ProblemTeller
from clew.node.service_health import ServiceHealth
from clew.servers.pages import METRICS, Page, serve
from clew.watch.client import Client

logger = logging.getLogger(__name__)

OTHERS = ("kube-proxy", "kube-router")  # programs that own the same names
ANSWER_SECONDS = 1.0
_ANSWER_BYTES = 4096
NOSNIFF = (("X-Content-Type-Options", "nosniff"),)


class ProxyPart:
    def __init__(
        self, node: str, configuration: Configuration, tables: ProxyTables, clock: Clock, registry: Registry
    ) -> None:
        agent, proxy = configuration.agent, configuration.proxy
        self._configuration, self._registry = proxy, registry
        self.mode = proxy.mode or proxy_modes.DEFAULT
        settings = proxy_settings(proxy, node, agent.cluster_cidrs, agent.service_cidrs)
        self._configz = msgspec.json.encode(configz.document(proxy, self.mode, settings))
        self._problems = ProblemTeller(settings.node)
        self._service_health = ServiceHealth(self._well, clock, self._has_node_ports, self._problems.tell)
        ports = ProxyPorts(
            partial(proxy_modes.mode(self.mode).open, None),
            KernelConntrack(),
            partial(proxy_modes.remove_others, self.mode),
            self._service_health.set,
        )
        self.proxy = ServiceProxy(tables, settings, ports, clock, registry, self._problems.tell)
        self._health = Health(clock, lambda: tables.nodes.get(("", settings.node)), self.proxy.families, registry)

    def initialise(self) -> None:
        """What needs rights beyond the rules (kube-proxy's --init-only); what the kernel refuses is said in the log."""
        for name, value in conntrack_sysctls(self._configuration, os.cpu_count() or 1).items():
            try:
                Sysctl().write({name: value})
            except WorldError as refused:
                logger.warning("%s stays as it is: %s", name, refused)
        self.proxy.prepare()
        score = self._configuration.oom_score_adj
        if score is not None:
            try:
                Path("/proc/self/oom_score_adj").write_text(str(score), encoding="ascii")
            except OSError as refused:
                logger.warning("oomScoreAdj stays as it is: %s", refused.strerror)

    def tasks(self, client: Client) -> list[Coroutine[Any, Any, None]]:
        """What has to run while the agent does."""
        config = self._configuration
        logger.info("service proxy: mode %s%s", self.mode, "" if config.mode else ", since none is chosen")
        health = {"/healthz": self._health.healthz, "/livez": self._health.livez, "/readyz": self._readyz}
        inside = {
            "/metrics": lambda: Page(self._registry.render().encode(), content_type=METRICS),
            "/proxyMode": lambda: Page(self.mode.encode(), headers=NOSNIFF),
            "/configz": lambda: Page(self._configz, content_type="application/json", headers=NOSNIFF),
            **health,
        }
        return [
            self.proxy.run(),
            self._problems.run(client),
            self._service_health.run(),
            serve(config.healthz, health),
            serve(config.metrics, inside),
        ]

    def _readyz(self) -> Page:
        """Whether this agent's rules are in and no other mode's are: what the DaemonSet's startup probe asks."""
        if self.proxy.in_sync.is_set():
            return Page(b"ok", headers=NOSNIFF)
        return Page(b"the rules of services are not in yet\n", 503, headers=NOSNIFF)

    def _has_node_ports(self, address: str) -> bool:
        """Whether node ports are open on an address of this node."""
        found = ip_address(address.partition("%")[0])
        here = getattr(found, "ipv4_mapped", None) or found
        prefixes = self.proxy.settings(here.version).node_port_addresses
        return not prefixes or any(here in ip_network(prefix) for prefix in prefixes)

    def _well(self) -> bool:
        return all(family.healthy for family in self.proxy.families().values())


async def refuse_company(configuration: Configuration) -> None:
    """UserError where another service proxy is alive in this network: two of them would undo each other's rules.

    Also where somebody else has its addresses, or has them and is silent: pages could not be shown, nor it be told of.
    """
    proxy = configuration.proxy
    remedy = "stop it first; the node's rules can be one proxy's only"
    for name, pid in _programs():
        raise UserError(f"{name} (process {pid}) serves this node already", remedy)
    for address, path in ((proxy.metrics, "/proxyMode"), (proxy.healthz, "/healthz")):
        said = await _ask(address, path)
        if said is not None:
            mode = f" in mode {said}" if path == "/proxyMode" and said.isalpha() else ""
            does = "answers" if said else "listens, and does not answer,"
            raise UserError(f"a service proxy{mode} {does} at {address} already", remedy)


def _programs() -> list[tuple[str, int]]:
    """Other proxies' processes in the network namespace of this one, as far as they can be seen."""
    here = Path("/proc/self/ns/net").readlink()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            name = (folder / "comm").read_text(encoding="utf-8").strip()
            if name in OTHERS and (folder / "ns/net").readlink() == here:
                found.append((name, int(folder.name)))
        except OSError:  # it is gone, or not ours to look at
            continue
    return found


async def _ask(address: str, path: str) -> str | None:
    """What is said at an address of this machine, "" where nothing is in time; None where nobody listens."""
    host, _, port = address.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host.strip("[]"), host.strip("[]"))  # noqa: S104
    answer = b""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return None
    with contextlib.closing(writer), contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            while len(answer) < _ANSWER_BYTES and (more := await reader.read(_ANSWER_BYTES)):
                answer += more
    return answer.decode(errors="replace").partition("\r\n\r\n")[2].strip()
