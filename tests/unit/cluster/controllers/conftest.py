"""A whole control plane on loopback: the real API server, controllers and scheduler, and kubelets without nodes."""

import asyncio
import base64
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.free_port import free_port

from clew.api.kinds import LEASE, NODE, POD
from clew.api.objects import Object, dig, is_deleting, key_of, name_of, namespace_of, uid_of
from clew.cluster.apiserver import ApiServer, ApiServerOptions, ServerPki
from clew.cluster.ca import Authority, client_tls, server_tls
from clew.cluster.controllers import ControllerOptions, run_controllers
from clew.cluster.scheduler import run_scheduler
from clew.cluster.storage import Storage
from clew.cluster.streams import StreamError
from clew.watch.client import Client
from clew.watch.errors import ApiError
from clew.watch.informer import Informer
from clew.watch.queue import WorkQueue

NOW = "2026-01-01T00:00:00Z"


class NoNodes:
    async def run(self, *_: object) -> Any:
        raise StreamError(400, "no node")

    attach = logs = connect = run


class HollowKubelets:
    """For every node at once: bound pods run and are ready, deleted ones go. `hold` keeps pods from becoming ready."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.pods = Informer(client, POD)
        self.queue: WorkQueue[tuple[str, str]] = WorkQueue("kubelets")
        self.hold: Callable[[Object], bool] = lambda _: False
        self.down: set[str] = set()
        self._address = 0
        self.pods.subscribe(lambda old, new: self.queue.add(key_of(new or old or {})))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pods.run())
            tasks.create_task(self.queue.run(self.reconcile, 8))

    async def reconcile(self, key: tuple[str, str]) -> None:
        pod = self.pods.get(*key)
        node = dig(pod, "spec", "nodeName")
        if pod is None or not node or node in self.down:
            return
        try:
            if is_deleting(pod):
                await self.client.delete(POD, key[1], key[0], uid=uid_of(pod), grace_period=0)
            elif not dig(pod, "status", "podIP") or (self._is_held(pod) and not self.hold(pod)):
                await self._started(pod)
        except ApiError as error:
            if not (error.not_found or error.conflict):
                raise

    def _is_held(self, pod: Object) -> bool:
        conditions = dig(pod, "status", "conditions") or []
        return any(each["type"] == "Ready" and each["status"] == "False" for each in conditions)

    async def _started(self, pod: Object) -> None:
        ip = dig(pod, "status", "podIP")
        if not ip:
            self._address += 1
            ip = f"10.244.{self._address // 250}.{self._address % 250 + 1}"
        ready = "False" if self.hold(pod) else "True"
        conditions = [
            {"type": type_, "status": "True", "lastTransitionTime": NOW} for type_ in ("PodScheduled", "Initialized")
        ]
        conditions += [
            {"type": type_, "status": ready, "lastTransitionTime": NOW} for type_ in ("ContainersReady", "Ready")
        ]
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
        body = {"metadata": {"uid": uid_of(pod)}, "status": status}
        await self.client.patch(POD, name_of(pod), body, namespace_of(pod), subresource="status")

    def release(self) -> None:
        """Everything that was held becomes ready."""
        self.hold = lambda _: False
        for pod in self.pods.items():
            self.queue.add(key_of(pod))


class ControlPlane:
    """The server's data outlives its restarts, and so does its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.ensure(folder / "pki")
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.admin = self.client("admin", ("system:masters",))
        self.kubelets = HollowKubelets(self.admin)

    async def start(self) -> None:
        self.storage = Storage.open(self.folder / "state.db")
        options = ApiServerOptions(("10.96.0.0/16",), advertise=(("192.0.2.1", 6443),))
        pki = ServerPki(self.authority.ca_pem, self.authority.service_account_key())
        self.server = ApiServer(self.storage, options, pki, NoNodes())
        tls = server_tls(self.authority.server(["localhost"], ["127.0.0.1"]), self.authority.ca_pem)
        await self.server.start([socket.create_server(("127.0.0.1", self.port))], tls)

    async def stop(self) -> None:
        await self.server.stop()
        await self.storage.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def client(self, user: str, groups: tuple[str, ...] = ()) -> Client:
        return Client(self.url, ssl=client_tls(self.authority.ca_pem, self.authority.client(user, groups)))

    def client_for(self, component: str) -> Client:
        return self.client(f"system:{component}")

    async def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """The real kubectl on PATH, as the administrator; what it printed. Fails the test when it fails."""
        program = shutil.which("kubectl")
        assert program, "kubectl is needed on PATH"
        folder = self.authority.folder
        config = folder / "kubeconfig"
        if not config.exists():
            config.write_text(self._kubeconfig())
        process = await asyncio.create_subprocess_exec(
            program, *arguments, env={**os.environ, "KUBECONFIG": str(config), "HOME": str(folder)},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(120):
            output, _ = await process.communicate(stdin.encode())
        assert process.returncode == 0, output.decode()
        return output.decode()

    def _kubeconfig(self) -> str:
        pems = [self.authority.ca_pem, *self.authority.client("admin", ("system:masters",))]
        authority, certificate, key = (base64.b64encode(pem).decode() for pem in pems)
        cluster = {"server": self.url, "certificate-authority-data": authority}
        user = {"client-certificate-data": certificate, "client-key-data": key}
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }  # fmt: skip
        return json.dumps(config)

    async def add_node(self, name: str, **spec: Any) -> Object:
        capacity = {"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "20Gi"}
        labels = {"kubernetes.io/hostname": name, **spec.pop("labels", {})}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": spec}
        await self.admin.create(NODE, node)
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": NOW, "lastTransitionTime": NOW}
        status = {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}
        return await self.admin.patch(NODE, name, {"status": status}, subresource="status")

    async def until(self, condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
        """Ask until it is true; what it answered then."""
        async with asyncio.timeout(seconds):
            while not (found := await condition()):  # noqa: ASYNC110  # asks the server, as a user would
                await asyncio.sleep(0.02)
            return found

    async def until_list(
        self, kind: Any, namespace: str, holds: Callable[[list[Object]], Any], **select: str
    ) -> list[Object]:
        """The list, as soon as `holds` is true of it."""
        found: list[Object] = []

        async def look() -> Any:
            nonlocal found
            found = (await self.admin.list(kind, namespace, **select)).items
            return holds(found)

        try:
            await self.until(look)
        except TimeoutError:
            pytest.fail(f"never came true of {kind.plural}: {found}")
        return found

    async def renew(self, node: str) -> None:
        lease = {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": node, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"},
        }  # fmt: skip
        await self.admin.create(LEASE, lease)


OPTIONS = ControllerOptions(ca_pem="-----BEGIN CERTIFICATE-----\n", pod_cidrs=("10.244.0.0/16", "fd00:10:244::/48"))


@pytest.fixture
def controller_options() -> ControllerOptions:
    return OPTIONS


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    """The API server alone."""
    plane = ControlPlane(tmp_path)
    await plane.start()
    try:
        yield plane
    finally:
        await plane.admin.close()
        await plane.stop()


@pytest.fixture
async def plane(bare: ControlPlane, controller_options: ControllerOptions) -> AsyncIterator[ControlPlane]:
    """With controllers, scheduler and kubelets running."""
    scheduling = bare.client_for("kube-scheduler")
    running = [
        asyncio.create_task(run_controllers(bare.client_for, controller_options)),
        asyncio.create_task(run_scheduler(scheduling)),
        asyncio.create_task(bare.kubelets.run()),
    ]
    try:
        yield bare
    finally:
        for task in running:
            assert not task.done() or not task.exception(), "a part of the control plane died"
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await scheduling.close()
