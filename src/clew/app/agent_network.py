"""The pod network as a part of the agent: made from the configuration, and made otherwise when the file changes.

What agent_start does not name is followed while the agent runs, since a change of the way between nodes must not wait
for a restart; what else has changed is said in the log and acts with the next start.
Made and run by app/agent.
"""

import asyncio
import logging
from collections.abc import Coroutine
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from clew.app import agent_config
from clew.app.agent_config import AgentConfiguration, AgentOptions, Configuration
from clew.app.agent_ipsec import IpsecPart
from clew.app.agent_start import read_at_start
from clew.base.clock import Clock
from clew.base.errors import UserError
from clew.dataplane.bandwidth.apply import BandwidthPlane
from clew.dataplane.bird import control
from clew.dataplane.bird.apply import BirdPlane
from clew.dataplane.bird.homes import Home, OwnBird, SharedBird
from clew.dataplane.hostports.apply import HostPortPlane
from clew.dataplane.hostports.objects import Place
from clew.dataplane.masquerade.apply import MasqueradePlane
from clew.dataplane.netlink.apply import NetlinkPlane
from clew.dataplane.netlink.objects import BRIDGE, LINK_GROUP
from clew.dataplane.overlay.apply import OverlayPlane
from clew.dataplane.overlay.secure import SecureEnds
from clew.facts.attachment import Attachment
from clew.facts.node import Node
from clew.kernel.conntrack import KernelConntrack
from clew.kernel.echo import KernelEcho
from clew.kernel.file_changes import FolderWatch
from clew.kernel.inside import enter
from clew.kernel.iptables import KernelIptables
from clew.kernel.netlink import Netlink
from clew.kernel.nft import KernelNft
from clew.kernel.sysctl import Sysctl
from clew.kernel.wireguard import KernelWireGuard
from clew.node import forwarding, wireguard_key
from clew.node.announcement import announce
from clew.node.ipam.port import Ipam
from clew.node.path_mtu import PathMtu
from clew.node.planes import Planes
from clew.node.podnet import PodNetwork
from clew.node.podnet_settings import NetworkSettings
from clew.node.wireguard_key import KeyPair
from clew.store.table import Table
from clew.watch.client import Client

logger = logging.getLogger(__name__)


class NetworkPart:
    """`options` name the file that `configuration` was read from."""

    def __init__(
        self, options: AgentOptions, configuration: Configuration, nodes: Table[Node], attachments: Table[Attachment],
        ipam: Ipam, clock: Clock,
    ) -> None:  # fmt: skip
        self._node, self._options, self._configuration = options.node, options, configuration
        self._nodes, self._clock = nodes, clock
        self._key = KeyPair("", "")
        self._has_key = asyncio.Event()
        self._said = ""
        agent = configuration.agent
        self._ipsec = IpsecPart(self._node, Path(agent.state_dir), agent.network.ipsec.secret, nodes, clock)
        router = _router(agent)
        place = Place(BRIDGE, LINK_GROUP, tuple(str(ip_network(each)) for each in agent.service_cidrs))
        self._socket = router.socket
        self._routes = asyncio.Event()  # BIRD is asked to lead somewhere
        planes = Planes(
            NetlinkPlane(Netlink(), Sysctl(), enter),
            OverlayPlane(Netlink(), SecureEnds(KernelWireGuard(), lambda: self._key.private), self._ipsec.ends),
            self._ipsec.identity,
            BirdPlane(router),
            HostPortPlane(KernelNft(), KernelConntrack(), Sysctl(), place),
            MasqueradePlane(KernelNft()),
            BandwidthPlane(Netlink()),
        )
        self.network = PodNetwork(self._settings(agent), nodes, attachments, planes, clock, ipam)
        self._paths = PathMtu(KernelEcho(), clock, self._narrow)
        self.network.on_peers = self._paths.want

    def tasks(self, client: Client) -> list[Coroutine[Any, Any, None]]:
        """What has to run while the agent does."""
        always = [self.network.run(), self._paths.run(), self._follow()]
        always += [self._publish_key(client), self._ipsec.run(client, self.network.look_again), self._forwards()]
        return [*always, control.until_it_ends(self._socket, self._routes, self.network.look_again, self._clock)]

    async def _forwards(self) -> None:
        """Say where the machine's own firewall is in the way, once there are ranges to speak of."""
        await self.network.ready.wait()
        await forwarding.watch(KernelIptables(), lambda: self.network.ranges, self._clock)

    def _narrow(self) -> None:
        self.network.narrow(self._paths.paths)

    def _settings(self, agent: AgentConfiguration) -> NetworkSettings:
        """UserError where a key is needed and cannot be had."""
        if agent.network.encapsulation == "wireguard" and not self._key.public:
            self._key = wireguard_key.load(Path(agent.state_dir, "wireguard.key"))
            self._has_key.set()
        if agent.network.encapsulation == "ipsec":
            self._ipsec.choose()
        (self._routes.set if agent.network.routing() is not None else self._routes.clear)()
        return NetworkSettings(
            self._node,
            tuple(agent.cluster_cidrs),
            agent.mtu,
            agent.masquerade,
            agent.network.plain(),
            agent.network.between(self._key.public),
            agent.network.links,
            agent.network.routing(),
            agent.network.probe_path_mtu,
        )

    async def _follow(self) -> None:
        """Read the file, if there is one, whenever something in its folder has changed."""
        if self._options.config is None:
            return
        changed, loop = asyncio.Event(), asyncio.get_running_loop()
        watch = FolderWatch(self._options.config.parent)

        def heard() -> None:
            watch.drain()
            changed.set()

        loop.add_reader(watch.fileno(), heard)
        try:
            while True:
                self._read()  # at the beginning, too: it may have changed since the agent read it
                await changed.wait()
                changed.clear()
        finally:
            loop.remove_reader(watch.fileno())
            watch.close()

    def _read(self) -> None:
        """A file that is wrong, or gone for a moment, changes nothing; what is wrong with it is said once."""
        try:
            found = agent_config.load(self._options)
            if found == self._configuration:
                self._said = ""
                return
            settings = self._settings(found.agent)
        except UserError as wrong:
            if wrong.message != self._said:
                self._said = wrong.message
                logger.error("the configuration has changed and is not followed: %s", wrong)  # noqa: TRY400 - no bug
            return
        before, self._configuration, self._said = self._configuration, found, ""
        for field in _waiting(before, found):
            logger.warning("the configuration has changed: %s acts with the agent's next start", field)
        logger.info("the configuration has changed: network %s", found.agent.network.backend)
        self.network.configure(settings)

    async def _publish_key(self, client: Client) -> None:
        """From the moment on that there is one."""
        await self._has_key.wait()
        wanted = wireguard_key.announcement(self._key.public)
        await announce(client, self._nodes, self._node, wanted, self._clock)


def _router(agent: AgentConfiguration) -> Home:
    bird = agent.network.bird
    if bird.socket:
        return SharedBird(Path(bird.socket), Path(bird.include))
    return OwnBird(Path(agent.state_dir, "bird"))


def _waiting(before: Configuration, now: Configuration) -> list[str]:
    """The fields that differ and are not followed."""
    one, other = read_at_start(before), read_at_start(now)
    return [field for field in one if one[field] != other[field]]
