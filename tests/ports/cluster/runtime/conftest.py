"""A node of its own: the real supervisor on a network namespace, without fabric, API or kubelet."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from clew.base.clock import SystemClock
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.fake import FakeNode
from clew.cluster.runtime.handle import NodeHandle
from clew.cluster.runtime.oci import ContainerSpec, Mount, Namespaces, available_capabilities, config
from clew.cluster.runtime.supervisor import cgroups
from clew.kernel import netns

SOON = 60  # seconds that something may take on a machine that has much else to do
LABELS = {"namespace": "default", "pod": "p", "uid": "u", "attempt": "0", "container": "main"}


class Node:
    """Either node, with what the tests do again and again."""

    def __init__(self, handle: Any, root: Path) -> None:
        self.handle = handle
        self.ask: Callable[..., Awaitable[Any]] = handle.ask
        self.root = root  # a root file system with a busybox
        self.ended: dict[str, Any] = {}
        self._heard = asyncio.Event()
        handle.listen(self._event)

    @property
    def tree(self) -> Path:
        return self.handle.paths.node_tree(self.handle.node)

    def _event(self, event: Any) -> None:
        self.ended[event["record"]["id"]] = event["record"]
        self._heard.set()

    async def end_of(self, identity: str) -> Any:
        """What is told of the end of a container or sandbox."""
        async with asyncio.timeout(SOON):
            while identity not in self.ended:
                self._heard.clear()
                await self._heard.wait()
        return self.ended[identity]

    async def sandbox(self, identity: str, *, network: bool = True, hostname: str = "pod") -> Any:
        await self.ask("sandbox_create", sandbox=identity, labels=LABELS, notes={}, network=network, sysctls={})
        return (await self.start_sandbox(identity, hostname))["record"]

    async def start_sandbox(self, identity: str, hostname: str = "pod") -> Any:
        return await self.ask("sandbox_start", sandbox=identity, hostname=hostname, own_ipc=True, score=0)

    def request(
        self, identity: str, *argv: str, sandbox: Any = None, mounts: tuple[Mount, ...] = (), **more: Any
    ) -> Any:
        group = f"{self.handle.group}/podu/{identity}"
        held = f"/proc/{sandbox['pid']}/ns" if sandbox else ""
        spaces = Namespaces(f"{held}/net", f"{held}/ipc", f"{held}/uts") if sandbox else Namespaces()
        spec = ContainerSpec(
            argv, group, env=("PATH=/bin",), mounts=mounts, namespaces=spaces, unified_cgroups=cgroups.unified(),
            tty=more.get("tty", False),
        )  # fmt: skip
        return {
            "id": identity, "sandbox": sandbox["id"] if sandbox else "", "labels": LABELS, "group": group,
            "config": config(spec, available_capabilities()), "lowers": [str(self.root)],
            "log": f"/var/log/pods/p/{identity}.log", **more,
        }  # fmt: skip

    async def run(self, identity: str, *argv: str, **more: Any) -> Any:
        self.ended.pop(identity, None)  # what was told of a former one of this name
        return (await self.ask("run", container=self.request(identity, *argv, **more)))["record"]

    async def listed(self, kind: str = "containers") -> dict[str, Any]:
        return {each["id"]: each for each in (await self.ask("list"))[kind]}

    def log(self, identity: str) -> list[str]:
        """Whole lines without times; the last one may just be written."""
        text = (self.tree / f"var/log/pods/p/{identity}.log").read_text()
        return [line.split(" ", 1)[1] for line in text.split("\n")[:-1]]

    async def lines(self, identity: str, number: int) -> list[str]:
        """The log once it has so many."""
        async with asyncio.timeout(SOON):
            while True:
                if len(found := self.log(identity)) >= number:
                    return found
                await asyncio.sleep(0.01)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    for name in ("bin", "proc", "dev", "sys", "tmp"):
        (folder / name).mkdir()
    shutil.copy("/bin/busybox", folder / "bin/busybox")
    for name in ("sh", "sleep", "cat", "echo", "kill", "ls", "readlink", "stat", "head", "yes", "tty", "id"):
        (folder / "bin" / name).symlink_to("busybox")
    return folder


class Machine:
    """Where real nodes are made; `start` again after the power went finds what is on the disk."""

    def __init__(self, root: Path) -> None:
        self.paths = LabPaths(f"port{os.getpid()}")
        self.root = root
        self._started: list[NodeHandle] = []

    async def start(self) -> Node:
        path = self.paths.netns("n")
        if not netns.pinned(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            netns.create(path)
        images = self.paths.images
        images.mkdir(parents=True, exist_ok=True)
        here = images / "root"  # images are shown to nodes at their own path
        if not here.exists():
            shutil.copytree(self.root, here, symlinks=True)
        handle = await NodeHandle.start(self.paths, "n")
        self._started.append(handle)
        return Node(handle, here)

    async def remove(self) -> None:
        for handle in self._started:
            await handle.stop()
        netns.delete(self.paths.netns("n"))
        for folder in (self.paths.state, self.paths.run, self.paths.log):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def machine(root: Path) -> AsyncIterator[Machine]:
    made = Machine(root)
    try:
        yield made
    finally:
        await made.remove()


@pytest.fixture
async def real(machine: Machine) -> Node:
    return await machine.start()


@pytest.fixture(params=["fake", "real"])
async def node(request: pytest.FixtureRequest, root: Path) -> AsyncIterator[Node]:
    if request.param == "fake":
        yield Node(FakeNode(LabPaths("fake"), "n", SystemClock()), root)
        return
    made = Machine(root)
    try:
        yield await made.start()
    finally:
        await made.remove()
