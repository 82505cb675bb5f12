"""The nodes of a running lab: each with power and a kubelet as one supervised part, or switched off by its user.

A node that is off stays off when the daemon comes back: the record is in the lab's state. Used by the lab's daemon.
"""

import asyncio
import functools
from collections.abc import Callable
from ipaddress import ip_network

import msgspec

from clew.app.lab_hosts import RECORD, switched_off
from clew.app.lab_spec import LabSpec, NodeSpec
from clew.app.manifest_objects import dns_address
from clew.app.supervise import Supervisor
from clew.base.errors import UserError
from clew.cluster.fabric import Fabric, Host, plug_in, unplug
from clew.cluster.images import ImageService
from clew.cluster.kubelet import Kubelet, KubeletConfig
from clew.cluster.paths import LabPaths
from clew.cluster.runtime import NodeHandle, NodeSettings
from clew.cluster.runtime.power import switch_off
from clew.kernel import files
from clew.watch.client import Client
from clew.watch.events import EventRecorder

MakeClient = Callable[..., Client]


class Nodes:
    """All nodes of one lab. `kubelets` has those that run."""

    def __init__(self, paths: LabPaths, spec: LabSpec, images: ImageService, client: MakeClient) -> None:
        self.kubelets: dict[str, Kubelet] = {}
        self._paths = paths
        self._spec = spec
        self._fabric: Fabric = spec.fabric()
        self._images = images
        self._client = client

    def start_all(self, supervisor: Supervisor) -> None:
        off = switched_off(self._paths)
        for node in self._spec.nodes:
            if node.name not in off:
                supervisor.start(_part(node.name), functools.partial(self._run, node))

    async def start(self, supervisor: Supervisor, name: str) -> None:
        """Switch a node on; nothing happens to one that runs. UserError where there is none of that name."""
        node = self._find(name)
        self._record([each for each in switched_off(self._paths) if each != name])
        supervisor.start(_part(name), functools.partial(self._run, node))

    async def stop(self, supervisor: Supervisor, name: str) -> None:
        """Pull a node's plug, for good: it stays off until `start`. UserError, PowerError."""
        node = self._find(name)
        self._record(sorted({*switched_off(self._paths), name}))
        await supervisor.stop(_part(name))
        await switch_off(self._paths, name)
        await asyncio.to_thread(unplug, self._paths, self._fabric.host(node.name))

    def _find(self, name: str) -> NodeSpec:
        for node in self._spec.nodes:
            if node.name == name:
                return node
        raise UserError(f"lab {self._spec.name} has no node {name!r}", f"nodes: {' '.join(self._spec.node_names)}")

    def _record(self, off: list[str]) -> None:
        files.replace(self._paths.state / RECORD, msgspec.json.encode(off))

    async def _run(self, node: NodeSpec) -> None:
        """The node, running already or switched on, and its kubelet."""
        host = self._fabric.host(node.name)
        client = self._client(f"system:node:{node.name}", "system:nodes")
        resolvers = self._fabric.outside.ips
        names = tuple((ip, each.name) for each in self._fabric.hosts for ip in each.ips)
        settings = NodeSettings(nameservers=resolvers, hosts=names)
        wire = functools.partial(plug_in, self._paths, host)
        try:
            handle = await NodeHandle.start(self._paths, node.name, settings, wire)
            try:
                config, recorder = self._kubelet_config(node, host), EventRecorder(client, "kubelet", node.name)
                self.kubelets[node.name] = Kubelet(client, config, handle, self._images, recorder)
                await self.kubelets[node.name].run()
            finally:
                self.kubelets.pop(node.name, None)
                await handle.close()
        finally:
            await client.close()

    def _kubelet_config(self, node: NodeSpec, host: Host) -> KubeletConfig:
        services = self._spec.service_cidrs
        return KubeletConfig(
            node.name, host.ips, tuple(dns_address(cidr) for cidr in services),
            nameservers=self._fabric.outside.ips, labels=node.labels,
            taints=tuple((each.key, each.value, each.effect) for each in node.taints),
            service_host=str(ip_network(services[0]).network_address + 1), max_pods=node.max_pods,
        )  # fmt: skip


def _part(name: str) -> str:
    return f"kubelet of {name}"
