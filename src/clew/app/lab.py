"""The lab's daemon: the whole cluster of one lab in one process. The composition root of `clew up`."""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path

import msgspec

from clew.api.kinds import CONFIG_MAP
from clew.api.objects import Object, key_of
from clew.app import manifest_objects
from clew.app.kubeconfig import entry
from clew.app.lab_config import LabSpec
from clew.app.manifest_objects import ClusterFacts, dns_address
from clew.app.outside import serve_names
from clew.cluster.apiserver import ApiServer, ApiServerOptions, ServerPki
from clew.cluster.ca import Authority, client_tls, server_tls
from clew.cluster.controllers import ControllerOptions, run_controllers
from clew.cluster.fabric import Fabric, build, plan
from clew.cluster.fabric.plan import FABRIC, OUTSIDE
from clew.cluster.images import ImageService, OwnProgram
from clew.cluster.kubelet import Kubelet, KubeletConfig, KubeletStreams
from clew.cluster.paths import LabPaths
from clew.cluster.runtime import NodeHandle, NodeSettings
from clew.cluster.scheduler import run_scheduler
from clew.cluster.storage import Storage
from clew.kernel import files, netns
from clew.servers.dns.server import Listener
from clew.watch.client import APPLY, Client
from clew.watch.errors import ApiError
from clew.watch.events import EventRecorder

logger = logging.getLogger(__name__)

API_PORT = 6443
READY = "ready"
_MARK = "clew-manifests"  # the ConfigMap that says which manifests were applied last


class Daemon:
    """One lab at work."""

    def __init__(self, paths: LabPaths, spec: LabSpec) -> None:
        self.paths = paths
        self.spec = spec
        self.fabric: Fabric = plan(spec.nodes, spec.subnets)
        self.authority = Authority.ensure(paths.pki)
        self.port = _sticky_port(paths)
        self.kubelets: dict[str, Kubelet] = {}
        self.clients: list[Client] = []
        self.images = ImageService(paths.images, OwnProgram.running())

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def client(self, user: str, *groups: str) -> Client:
        credential = self.authority.client(user, groups)
        made = Client(self.url, ssl=client_tls(self.authority.ca_pem, credential), user_agent=user)
        self.clients.append(made)
        return made

    async def run(self) -> None:
        """Until it is told to stop; nodes and their containers go on without it."""
        await asyncio.to_thread(build, self.paths, self.fabric)
        storage = Storage.open(self.paths.database)
        server = self._server(storage)
        try:
            await server.start(self._sockets(), self._tls())
            self._write_kubeconfig()
            names = await self._outside()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(keep("controllers", self._controllers))
                    group.create_task(keep("scheduler", self._scheduler))
                    group.create_task(self._manifests())
                    for host in self.fabric.nodes:
                        group.create_task(self._node(host.name, host.ips))
                    await _told_to_stop()
                    raise asyncio.CancelledError  # ends the group with all its parts
            finally:
                await names.stop()
        finally:
            for client in self.clients:
                await client.close()
            await server.stop()
            await storage.close()

    def _server(self, storage: Storage) -> ApiServer:
        advertise = tuple((ip, API_PORT) for ip in self.fabric.router_ips)
        options = ApiServerOptions(self.spec.service_cidrs, advertise=advertise)
        pki = ServerPki(self.authority.ca_pem, self.authority.service_account_key())
        return ApiServer(storage, options, pki, KubeletStreams(self.kubelets))

    def _sockets(self) -> list[socket.socket]:
        local = socket.create_server(("127.0.0.1", self.port), backlog=512)
        made = [local]
        for ip in self.fabric.router_ips:
            family = socket.AF_INET6 if ":" in ip else socket.AF_INET
            sock = netns.socket_in(self.paths.netns(FABRIC), family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((ip, API_PORT))
            sock.listen(512)
            made.append(sock)
        for sock in made:
            sock.setblocking(False)
        return made

    def _tls(self) -> ssl.SSLContext:
        first = [str(ip_network(cidr).network_address + 1) for cidr in self.spec.service_cidrs]
        names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        credential = self.authority.server(names, ["127.0.0.1", *self.fabric.router_ips, *first])
        return server_tls(credential, self.authority.ca_pem)

    def _write_kubeconfig(self) -> None:
        credential = self.authority.client("kubernetes-admin", ("system:masters",))
        config = entry(self.spec.name, self.url, self.authority.ca_pem, *credential)
        files.replace(self.paths.state / "kubeconfig.json", msgspec.json.encode(config))
        files.replace(self.paths.run / READY, b"")

    async def _outside(self) -> Listener:
        udp: list[socket.socket] = []
        tcp: list[socket.socket] = []
        for ip in self.fabric.outside.ips:
            family = socket.AF_INET6 if ":" in ip else socket.AF_INET
            for kind, into in ((socket.SOCK_DGRAM, udp), (socket.SOCK_STREAM, tcp)):
                sock = netns.socket_in(self.paths.netns(OUTSIDE), family, kind)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((ip, 53))
                sock.setblocking(False)
                into.append(sock)
        return await serve_names(self.spec.names, udp, tcp)

    async def _controllers(self) -> None:
        options = ControllerOptions(pod_cidrs=self.spec.pod_cidrs, ca_pem=self.authority.ca_pem.decode())
        await run_controllers(lambda user: self.client(f"system:{user}"), options)

    async def _scheduler(self) -> None:
        client = self.client("system:kube-scheduler")
        await run_scheduler(client, EventRecorder(client, "default-scheduler"))

    async def _manifests(self) -> None:
        """Apply the parts of Clew itself, once for each content: what the user changes later stays changed."""
        facts = ClusterFacts(
            self.spec.pod_cidrs, self.spec.service_cidrs, self.fabric.router_ips[0], API_PORT,
            dual=len(self.spec.pod_cidrs) > 1, proxy=self.spec.proxy,
        )  # fmt: skip
        client = self.client("kubernetes-admin", "system:masters")
        wanted = manifest_objects.objects(facts)
        digest = hashlib.sha256(msgspec.json.encode(wanted)).hexdigest()
        with contextlib.suppress(ApiError):
            known = await client.get(CONFIG_MAP, _MARK, "kube-system")
            if known["data"].get("digest") == digest:
                return
        mark: Object = {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": _MARK, "namespace": "kube-system"},
            "data": {"digest": digest},
        }  # fmt: skip
        for obj in (*wanted, mark):
            namespace, name = key_of(obj)
            kind = manifest_objects.kind_of(obj)
            await client.patch(kind, name, obj, namespace, content_type=APPLY, field_manager="clew", force=True)

    async def _node(self, name: str, ips: tuple[str, ...]) -> None:
        """The node, running already or switched on, and its kubelet."""
        client = self.client(f"system:node:{name}", "system:nodes")
        config = KubeletConfig(
            name, ips, tuple(dns_address(cidr) for cidr in self.spec.service_cidrs),
            nameservers=self.fabric.outside.ips,
            service_host=str(ip_network(self.spec.service_cidrs[0]).network_address + 1),
        )  # fmt: skip
        settings = NodeSettings(nameservers=self.fabric.outside.ips, hosts=tuple((ip, name) for ip in ips))
        handle = await NodeHandle.start(self.paths, name, settings)
        recorder = EventRecorder(client, "kubelet", name)
        self.kubelets[name] = Kubelet(client, config, handle, self.images, recorder)
        try:
            await keep(f"kubelet of {name}", self.kubelets[name].run)
        finally:
            await handle.close()


async def keep(name: str, part: Callable[[], Awaitable[None]]) -> None:
    """Start a part again when it fails; the log says why."""
    pause = 0.5
    while True:
        try:
            await part()
            return
        except Exception:
            logger.exception("part %s failed; it is started again in %.1f s", name, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 30.0)


async def _told_to_stop() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _sticky_port(paths: LabPaths) -> int:
    """The API server's port on loopback, the same at every start of the lab."""
    path = paths.state / "port"
    if path.exists():
        return int(path.read_text())
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    files.replace(path, str(port).encode())
    return port


def read_stored_spec(paths: LabPaths) -> LabSpec | None:
    try:
        return msgspec.json.decode((paths.state / "lab.json").read_bytes(), type=LabSpec)
    except FileNotFoundError:
        return None


def main(name: str) -> None:
    """The daemon's process: `python -m clew.app.lab NAME`; its spec has been stored before."""
    import uvloop  # noqa: PLC0415 - only the daemon needs it

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    paths = LabPaths(name)
    spec = read_stored_spec(paths)
    if spec is None:
        raise SystemExit(f"no lab is stored at {paths.state}")
    files.replace(paths.run / "daemon.pid", str(os.getpid()).encode())
    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(Daemon(paths, spec).run())


def stored_kubeconfig(paths: LabPaths) -> Object | None:
    try:
        found: Object = json.loads(Path(paths.state / "kubeconfig.json").read_text())
    except FileNotFoundError:
        return None
    return found


if __name__ == "__main__":
    import sys

    main(sys.argv[1])
