"""A pod's sandbox: its network namespace, its addresses, and the pause container that holds ipc and uts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clew.api.objects import Object
from clew.base.errors import WorldError
from clew.cluster.kubelet.cni import CniError
from clew.cluster.kubelet.resolv import hostname
from clew.cluster.oci.capabilities import available
from clew.cluster.oci.spec import ContainerSpec, run_request

if TYPE_CHECKING:
    from clew.cluster.kubelet.kubelet import Kubelet
    from clew.cluster.kubelet.worker import PodWorker

_PAUSE = "registry.k8s.io/pause:3.10"


class Sandbox:
    def __init__(self, kubelet: "Kubelet", pod: Object, record: dict[str, Any] | None) -> None:
        self.kubelet = kubelet
        self.uid = pod["metadata"]["uid"]
        self.host_network = bool(pod["spec"].get("hostNetwork"))
        self.pod_key = (pod["metadata"]["namespace"], pod["metadata"]["name"], self.uid)
        self.hostname = hostname(pod, kubelet.config)
        self.ips: tuple[str, ...] = kubelet.config.addresses if self.host_network else ()
        self.pid = 0
        self.attempt = 0
        self.id = ""
        if record is not None and record["state"] == "running":
            self._adopt(record)
        elif record is not None:
            self.id = record["id"]
            self.attempt = int(record["labels"].get("attempt", "0")) + 1

    @property
    def folder(self) -> Path:
        found: Path = self.kubelet.pods_folder / self.uid
        return found

    @property
    def netns(self) -> str:
        """As the node sees it; empty for the node's own network."""
        return "" if self.host_network else f"/run/netns/cni-{self.uid}"

    @property
    def cgroup(self) -> str:
        return f"{self.kubelet.handle.cgroup}/pod{self.uid}"

    def _adopt(self, record: dict[str, Any]) -> None:
        self.id, self.pid = record["id"], record["pid"]
        self.attempt = int(record["labels"].get("attempt", "0"))
        if not self.host_network:
            try:
                self.ips = tuple(json.loads((self.folder / "addresses.json").read_text()))
            except (OSError, ValueError):
                self.pid = 0  # cannot be vouched for: it is made again

    def died(self, record: dict[str, Any]) -> None:
        if record["id"] == self.id:
            self.pid = 0

    async def ensure(self, worker: "PodWorker") -> bool:
        """Make what is missing; False where the node's network is not ready, which is waited for."""
        if self.pid:
            return True
        if not self.host_network and self.kubelet.cni.network() is None:
            return False
        if self.id:
            worker.event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
            for unit in (*worker.init, *worker.regular):
                await unit.stop(0)
            await self._take_down()
            self.attempt += 1
        try:
            async with self.kubelet.gate:
                await self._make()
        except WorldError as error:
            worker.event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            raise
        return True

    async def _make(self) -> None:
        handle = self.kubelet.handle
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.uid}-pause-{self.attempt}"
        if not self.host_network:
            await handle.ask("netns", name=f"cni-{self.uid}")
            ips = await self.kubelet.cni.add(name, self.netns, self.pod_key)
            if not ips:
                raise CniError("the CNI plugin gave no address")
            (self.folder / "addresses.json").write_text(json.dumps(ips))
            self.ips = ips
        image = await self.kubelet.images.ensure(_PAUSE, "IfNotPresent")
        spec = ContainerSpec(
            (*image.entrypoint, *image.cmd), image.env, "/", f"{self.cgroup}/{name}", available(),
            hostname=self.hostname,
            network=self.netns, read_only_root=True,
        )  # fmt: skip
        labels = {
            "uid": self.uid,
            "role": "pause",
            "attempt": str(self.attempt),
            "namespace": self.pod_key[0],
            "pod": self.pod_key[1],
        }
        record = await handle.ask("run", **run_request(name, spec, image.lowers, labels, "", stdin=False))
        self.id, self.pid = name, record["pid"]

    async def _take_down(self) -> None:
        handle = self.kubelet.handle
        if self.id:
            await handle.ask("remove", id=self.id)
        if not self.host_network:
            await self.kubelet.cni.delete(self.id or f"{self.uid}-pause-{self.attempt}", self.netns, self.pod_key)
            await handle.ask("drop-netns", name=f"cni-{self.uid}")
        self.id, self.pid = "", 0

    async def remove(self) -> None:
        """All of it, whatever of it there is."""
        try:
            await self._take_down()
        except WorldError:
            self.pid = 0
