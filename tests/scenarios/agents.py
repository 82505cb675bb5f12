"""A cluster for the pages: the API server as a process, and the agent as a process on each node of the world.

What a page says is written to the API server over HTTPS and comes to the nodes as their agents hear of it. Agents are
started anew only where a page asks for other settings, as an operator would; what the former ones left is adopted.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from bench.api_process import PORT
from bench.children import child, told

from clew.api.kinds import ENDPOINT_SLICE, NAMESPACE, NODE, SERVICE
from clew.api.objects import Object
from clew.app.kubeconfig import entry
from clew.cluster.ca import Authority, client_tls
from clew.node import proxy_modes
from clew.watch.client import Client

from . import plan
from .page import Section
from .world import Prober, World, join

KINDS = {"Service": SERVICE, "EndpointSlice": ENDPOINT_SLICE}
OURS = {"scenario": "page"}  # label of everything that is written
PATIENCE = float(os.environ.get("CLEW_PATIENCE", "60"))  # seconds; an emulated machine is ten times slower
LAST_PORT = 9  # of a service that is written after all others
AGENT = "from clew.cli.main import main; main()"
TYPED = "node-2"  # its agent is told by kube-proxy's flags what the others read in a file


class Cluster:
    """One API server; agents in one mode at a time."""

    def __init__(self, world: World, folder: Path, port: str) -> None:
        self._world, self._folder = world, folder
        self._authority = Authority.ensure(folder / "pki")
        self._url = f"https://127.0.0.1:{port}"
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self._asked: tuple[str, str] = ("", "")
        self._known: set[str] = {"default"}  # namespaces
        self._played = 0

    @contextlib.asynccontextmanager
    async def serving(self, mode: str, section: Section) -> AsyncIterator[None]:
        """Both nodes programmed by agents of this mode as the section says, after what was there before has gone."""
        self._played += 1
        prober = Prober(self._world)
        async with self._client() as client:
            try:
                await self._tell_zones(client, section.settings.get("zones", {}))
                self._run(mode, section)
                for family in (4, 6):
                    await prober.serve(plan.PODS["a"], "TCP", family, LAST_PORT)
                for document in (*section.documents, *last_documents(self._played)):
                    await self._write(client, document)
                await self._until_in_kernel(prober)
                yield
            finally:
                for namespace in self._known:
                    for kind in KINDS.values():
                        await client.delete_collection(kind, namespace, labels="scenario=page")
                await prober.close()

    def stop(self) -> None:
        """End the agents, and take their rules away."""
        for agent in self._agents.values():
            agent.terminate()
        try:
            for node, agent in self._agents.items():
                assert agent.wait(PATIENCE) == 0, f"the agent of {node} did not end well: {self._log(node)}"
        finally:
            for agent in self._agents.values():
                agent.kill()
                agent.wait()
            self._agents.clear()

    def _client(self) -> Client:
        credential = self._authority.client("admin", ("system:masters",))
        return Client(self._url, ssl=client_tls(self._authority.ca_pem, credential))

    def _run(self, mode: str, section: Section) -> None:
        asked = (mode, json.dumps({key: value for key, value in section.settings.items() if key != "zones"}))
        if asked == self._asked and self._agents:
            return
        self.stop()
        self._asked = asked
        for node in plan.NODES:
            self._agents[node] = self._start(node, mode, section.settings)

    def _start(self, node: str, mode: str, settings: dict[str, Any]) -> subprocess.Popen[bytes]:
        root = self._folder / node
        root.mkdir(exist_ok=True)
        credential = self._authority.client("system:node-agent", ("system:masters",))
        url = f"https://{plan.ROUTER[4]}:{PORT}"
        (root / "kubeconfig").write_text(json.dumps(entry("pages", url, self._authority.ca_pem, *credential)))
        documents = [self._agent(root, settings), *([proxy(mode, settings)] if node != TYPED else [])]
        flags = proxy_flags(mode, settings) if node == TYPED else []
        (root / "config.yaml").write_text("\n---\n".join(map(json.dumps, documents)))
        command = [
            "nsenter",
            f"--net={self._world.path(node)}",
            sys.executable,
            "-c",
            AGENT,
            "agent",
            f"--config={root / 'config.yaml'}",
            f"--node={node}",
            *flags,
        ]
        with (root / "agent.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _agent(self, root: Path, settings: dict[str, Any]) -> Object:
        return {
            "apiVersion": "clew.dev/v1alpha1", "kind": "AgentConfiguration", "masquerade": False,
            "clusterCIDRs": list(settings.get("podCIDRs", plan.POD_CIDRS)),
            "serviceCIDRs": list(settings.get("serviceCIDRs", ())),
            "kubeconfig": str(root / "kubeconfig"), "socketPath": str(root / "cni.sock"),
            "stateDir": str(root / "state"), "cniBinDir": str(root / "bin"),
            "cniConfFile": str(root / "10-clew.conflist"),
        }  # fmt: skip

    async def _tell_zones(self, client: Client, zones: dict[str, str]) -> None:
        """Nodes have no pod CIDR, so that pods are the world's to wire."""
        known = {each["metadata"]["name"]: each for each in (await client.list(NODE)).items}
        for node, place in plan.NODES.items():
            if node not in known:
                addresses = [{"type": "InternalIP", "address": each} for each in place.addresses.values()]
                status = {"addresses": addresses}
                await client.create(NODE, {**typed("v1", "Node", node), "status": status})
            labels = known.get(node, {}).get("metadata", {}).get("labels", {})
            zone = zones.get(node)
            if labels.get("topology.kubernetes.io/zone") != zone:
                await client.patch(NODE, node, {"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}})

    async def _write(self, client: Client, document: Object) -> None:
        kind, metadata = KINDS[document["kind"]], document["metadata"]
        namespace = metadata.get("namespace", "default")
        if namespace not in self._known:
            await client.create(NAMESPACE, typed("v1", "Namespace", namespace))
            self._known.add(namespace)
        labelled = {**metadata, "labels": {**metadata.get("labels", {}), **OURS}}
        await client.create(kind, {**document, "metadata": labelled}, namespace)
        if document.get("status"):
            await client.patch(kind, metadata["name"], {"status": document["status"]}, namespace, subresource="status")

    async def _until_in_kernel(self, prober: Prober) -> None:
        """Until each node answers for the last service in each family: by then all that was written before is there."""
        addresses = last_addresses(self._played).values()
        deadline = time.monotonic() + PATIENCE
        while True:
            await asyncio.sleep(0.02)
            for node, agent in self._agents.items():
                assert agent.poll() is None, f"the agent of {node} ended: {self._log(node)}"
            questions = [(node, join(each, 80)) for node in plan.NODES.values() for each in addresses]
            got = await asyncio.gather(*(answered(prober, node, to) for node, to in questions))
            if all(got):
                return
            missing = [f"{node.name} {to}" for (node, to), well in zip(questions, got, strict=True) if not well]
            assert time.monotonic() < deadline, f"nobody answers: {missing}\n{[*map(self._log, self._agents)]}"

    def _log(self, node: str) -> str:
        return (self._folder / node / "agent.log").read_text()[-3000:]


async def answered(prober: Prober, source: plan.Place, to: str) -> bool:
    try:
        return ":" in (await prober.ask(source, "TCP", to)).end
    except OSError:  # before a service is there the network may know no way to its address
        return False


def last_addresses(number: int) -> dict[int, str]:
    return {4: f"10.111.255.{number % 250 + 1}", 6: f"fd00:10:96::ff{number % 250 + 1:02x}"}


def typed(version: str, kind: str, name: str) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}


def proxy(mode: str, settings: dict[str, Any]) -> Object:
    """The KubeProxyConfiguration of a page's settings."""
    interface = settings.get("podInterface", "")
    local: Object = {}
    if interface.endswith("*"):
        local = {"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": interface[:-1]}}
    elif interface:
        local = {"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": interface}}
    section = {"masqueradeAll": bool(settings.get("masqueradeAll")), "minSyncPeriod": "10ms"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": mode, **local,
        "nodePortAddresses": list(settings.get("nodePortAddresses", ())), "nftables": section,
        "iptables": {**section, "localhostNodePorts": bool(settings.get("localhostNodePorts"))},
    }  # fmt: skip


def proxy_flags(mode: str, settings: dict[str, Any]) -> list[str]:
    """The same, as somebody would type it."""
    interface = settings.get("podInterface", "")
    local = ["--detect-local-mode=BridgeInterface", f"--pod-bridge-interface={interface}"]
    if interface.endswith("*"):
        local = ["--detect-local-mode=InterfaceNamePrefix", f"--pod-interface-name-prefix={interface[:-1]}"]
    return [
        f"--proxy-mode={mode}",
        f"--nodeport-addresses={','.join(settings.get('nodePortAddresses', ()))}",
        "--iptables-min-sync-period=10ms",
        *(["--masquerade-all"] if settings.get("masqueradeAll") else []),
        f"--iptables-localhost-nodeports={str(bool(settings.get('localhostNodePorts'))).lower()}",
        *(local if interface else []),
    ]


def last_documents(number: int) -> list[Object]:
    """A service of both families, each time another."""
    addresses = last_addresses(number)
    found: list[Object] = [{
        **typed("v1", "Service", f"last-{number}"),
        "spec": {
            "clusterIP": addresses[4], "clusterIPs": list(addresses.values()), "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": ["IPv4", "IPv6"], "ports": [{"port": 80, "targetPort": LAST_PORT}],
        },
    }]  # fmt: skip
    for family in addresses:
        slice_ = typed("discovery.k8s.io/v1", "EndpointSlice", f"last-{number}-{family}")
        slice_["metadata"]["labels"] = {"kubernetes.io/service-name": f"last-{number}"}
        slice_ |= {"addressType": f"IPv{family}", "ports": [{"name": "", "port": LAST_PORT, "protocol": "TCP"}]}
        found.append({**slice_, "endpoints": [{"addresses": [plan.PODS["a"].addresses[family]], "nodeName": "node-1"}]})
    return found


@contextlib.contextmanager
def cluster(world: World, folder: Path) -> Iterator[Cluster]:
    """The API server, and agents as pages ask for them; nothing of them is left."""
    with child("bench.api_process", str(folder), str(world.path("fabric")), plan.ROUTER[4]) as server:
        made = Cluster(world, folder, told(server))
        try:
            yield made
        finally:
            made.stop()
            for node in plan.NODES:
                proxy_modes.remove_all(world.path(node))
