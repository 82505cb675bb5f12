"""The lab's daemon: the whole cluster of one lab in one process. The composition root of `clew up`."""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from typing import Any

import msgspec

from clew.app import lab_control
from clew.app.kubeconfig import entry
from clew.app.lab_hosts import switched_off
from clew.app.lab_manifests import Manifests
from clew.app.lab_spec import LabSpec, the_spec
from clew.app.lab_state import KUBECONFIG, PID, READY
from clew.app.node_power import Nodes
from clew.app.outside import serve_names
from clew.app.renewal import until_renewed
from clew.app.supervise import Supervisor
from clew.base.clock import SystemClock
from clew.base.errors import UserError
from clew.cluster.apiserver import ApiServer, ApiServerOptions, ServerPki
from clew.cluster.ca import Authority, Credential, client_tls, server_tls
from clew.cluster.controllers import ControllerOptions, run_controllers
from clew.cluster.fabric import OUTSIDE, build
from clew.cluster.fabric.plan import FABRIC
from clew.cluster.images import ImageService, OwnProgram
from clew.cluster.kubelet import KubeletStreams
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.supervisor import cgroups
from clew.cluster.scheduler import run_scheduler
from clew.cluster.storage import Storage
from clew.kernel import files, netns
from clew.watch.client import Client
from clew.watch.events import EventRecorder

logger = logging.getLogger(__name__)

API_PORT = 6443
_DESCRIPTORS = 65536  # one a watcher; a shell's own limit is 1024
_SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


class Daemon:
    """One lab at work."""

    def __init__(self, paths: LabPaths, spec: LabSpec) -> None:
        self.paths = paths
        self.spec = spec
        self.fabric = spec.fabric()
        self.authority = Authority.ensure(paths.pki)
        self.local = loopback(paths)
        self.again = False  # the process is to begin anew when `run` returns
        self._stop = asyncio.Event()
        self._parts = Manifests((self.fabric.router_ips[0], API_PORT))
        self.nodes = Nodes(paths, spec, ImageService(paths.images, OwnProgram.running()), self.client)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.local.getsockname()[1]}"

    def client(self, user: str, *groups: str) -> Client:
        """A client of our own API server under a user's certificate; whoever asked for it closes it."""
        credential = self.authority.client(user, groups)
        return Client(self.url, ssl=client_tls(self.authority.ca_pem, credential), user_agent=user)

    async def run(self) -> None:
        """Until it is told to stop; nodes and their containers go on without it."""
        await asyncio.to_thread(build, self.paths, self.fabric)
        storage = Storage.open(self.paths.database)
        server = self._server(storage)
        try:
            await server.start(self._sockets(), server_tls(self._credential(), self.authority.ca_pem))
            self._write_kubeconfig()
            async with Supervisor() as supervisor:
                supervisor.start("names outside", self._outside)
                supervisor.start("controllers", self._controllers)
                supervisor.start("scheduler", self._scheduler)
                supervisor.start("manifests", self._manifests)
                control = Control(self, supervisor)
                supervisor.start("control", lambda: lab_control.serve(self.paths, control.handle, self._announce))
                supervisor.start("certificates", self._certificates)
                self.nodes.start_all(supervisor)
                await self._told_to_stop()
        finally:
            await server.stop()
            await storage.close()

    def _server(self, storage: Storage) -> ApiServer:
        advertise = tuple((ip, API_PORT) for ip in self._advertised())
        options = ApiServerOptions(self.spec.service_cidrs, advertise=advertise)
        pki = ServerPki(self.authority.ca_pem, self.authority.service_account_key())
        return ApiServer(storage, options, pki, KubeletStreams(self.nodes.kubelets))

    def _advertised(self) -> tuple[str, ...]:
        """The router's addresses in the first subnet, one a family: endpoints of the Service `kubernetes`."""
        return self.fabric.router_ips[: len(self.spec.service_cidrs)]

    def _sockets(self) -> list[socket.socket]:
        made = [self.local]
        for ip in self.fabric.router_ips:
            sock = _bound(self.paths, FABRIC, ip, API_PORT, socket.SOCK_STREAM)
            sock.listen(512)
            made.append(sock)
        return made

    def _credential(self) -> Credential:
        """The API server's certificate, for every name and address by which it is reached."""
        first = [str(ip_network(cidr).network_address + 1) for cidr in self.spec.service_cidrs]
        return self.authority.server(_SERVER_NAMES, ["127.0.0.1", *self.fabric.router_ips, *first])

    async def _certificates(self) -> None:
        """Before one ends the daemon begins anew, which its nodes and their traffic do not notice."""
        await until_renewed(self._credential, SystemClock())
        self.again = True
        self._stop.set()

    async def _told_to_stop(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        await self._stop.wait()

    def _write_kubeconfig(self) -> None:
        credential = self.authority.client("kubernetes-admin", ("system:masters",))
        config = entry(self.spec.name, self.url, self.authority.ca_pem, *credential)
        files.replace(self.paths.state / KUBECONFIG, msgspec.json.encode(config))

    def _announce(self) -> None:
        """From now on commands may ask the API server, and this process."""
        files.replace(self.paths.run / READY, b"")

    async def _outside(self) -> None:
        """The resolver of the host outside."""
        ips = self.fabric.outside.ips
        udp = [_bound(self.paths, OUTSIDE, ip, 53, socket.SOCK_DGRAM) for ip in ips]
        tcp = [_bound(self.paths, OUTSIDE, ip, 53, socket.SOCK_STREAM) for ip in ips]
        listener = await serve_names(self.spec.names, udp, tcp)
        try:
            await asyncio.Event().wait()
        finally:
            await listener.stop()

    async def _controllers(self) -> None:
        clients: list[Client] = []

        def client(user: str) -> Client:
            clients.append(self.client(f"system:{user}"))
            return clients[-1]

        options = ControllerOptions(pod_cidrs=self.spec.pod_cidrs, ca_pem=self.authority.ca_pem.decode())
        try:
            await run_controllers(client, options)
        finally:
            for each in clients:
                await each.close()

    async def _scheduler(self) -> None:
        async with self._as("system:kube-scheduler") as client:
            await run_scheduler(client, EventRecorder(client, "default-scheduler"))

    async def _manifests(self) -> None:
        await self._apply(insist=False)

    async def change(self, *, insist: bool) -> list[str]:
        """Follow the lab's spec, which may have been written anew; the objects that had to be applied for it."""
        self.spec = the_spec(self.paths)
        return await self._apply(insist=insist)

    async def _apply(self, *, insist: bool) -> list[str]:
        async with self._as("kubernetes-admin", "system:masters") as client:
            return await self._parts.apply(client, self.spec, len(switched_off(self.paths)), insist=insist)

    @contextlib.asynccontextmanager
    async def _as(self, user: str, *groups: str) -> AsyncIterator[Client]:
        made = self.client(user, *groups)
        try:
            yield made
        finally:
            await made.close()


class Control:
    """What commands may ask of a daemon."""

    def __init__(self, daemon: Daemon, supervisor: Supervisor) -> None:
        self._daemon = daemon
        self._nodes = daemon.nodes
        self._supervisor = supervisor

    async def handle(self, asked: Mapping[str, Any]) -> Any:
        match asked:
            case {"op": "parts"}:
                return [msgspec.to_builtins(each) for each in self._supervisor.states()]
            case {"op": "start", "node": str(name)}:
                await self._nodes.start(self._supervisor, name)
            case {"op": "change", "insist": bool(insist)}:
                return await self._daemon.change(insist=insist)
            case {"op": "stop", "node": str(name)}:
                await self._nodes.stop(self._supervisor, name)
            case _:
                raise UserError(f"the daemon does not know how to do {asked.get('op')!r}", "it is of another version")
        return None


def _bound(paths: LabPaths, host: str, ip: str, port: int, kind: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    sock = netns.socket_in(paths.netns(host), family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((ip, port))
    sock.setblocking(False)
    return sock


def loopback(paths: LabPaths) -> socket.socket:
    """The API server's listener on loopback: the same port at every start, unless another program has it by now."""
    path = paths.state / "port"
    before = int(path.read_text()) if path.exists() else 0
    try:
        sock = socket.create_server(("127.0.0.1", before), backlog=512)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        logger.warning("port %d is another program's by now; the API server takes a new one", before)
        sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    sock.setblocking(False)
    files.replace(path, str(sock.getsockname()[1]).encode())
    return sock


def main(name: str) -> None:
    """The daemon's process: `python -m clew.app.lab NAME`; its spec has been stored before."""
    import uvloop  # noqa: PLC0415 - only the daemon needs it

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    paths = LabPaths(name)
    # all that it starts is the lab's from its first moment: `clew down` ends what is in the lab's control groups
    group = f"/clew/{name}/daemon"
    cgroups.make(group)
    cgroups.join(group)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _DESCRIPTORS), most))
    files.replace(paths.run / PID, str(os.getpid()).encode())
    daemon = Daemon(paths, the_spec(paths))
    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(daemon.run())
    if daemon.again:
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - ourselves, as we were started


if __name__ == "__main__":
    main(sys.argv[1])
