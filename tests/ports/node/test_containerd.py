"""Debian's containerd, asked as a kubelet asks it: pod sandboxes on our network, by the files that the agent installed.

Unpacked, never installed: it runs in the node's network namespace with mounts, processes and folders of its own, so the
machine's /etc/cni, /opt/cni, /run and services are not touched. Its pause image is the lab's own stand-in.
"""

import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.packages import unpacked
from tests.ports.node import cri

from clew.cluster.images.stand_ins import pause
from clew.kernel.netlink import Netlink

pytestmark = pytest.mark.root

IMAGE = "example.invalid/pause:1"
CONFIG = """
version = 2
root = "{root}/root"
state = "{root}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{root}/containerd.sock"
[ttrpc]
  address = "{root}/ttrpc.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  disable_apparmor = true
  disable_tcp_service = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{bin}"
    conf_dir = "{conf}"
"""


def image() -> bytes:
    """The lab's pause program as a `docker save` archive."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _add(tar, "pause", pause.program(platform.machine()), 0o755)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    config = {
        "architecture": architecture, "os": "linux", "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as tar:
        _add(tar, "layer.tar", layer.getvalue())
        _add(tar, "config.json", json.dumps(config).encode())
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    return found.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


class Containerd:
    """A containerd of the node's own."""

    def __init__(self, node: Any, root: Path) -> None:
        self.node, self.root = node, root
        self.socket = root / "containerd.sock"
        self.cgroup = f"/clew-containerd-{os.getpid()}"
        self._programs = unpacked("containerd") / "usr/bin"

    @contextmanager
    def running(self, tools: Any) -> Iterator[None]:
        config = CONFIG.format(root=self.root, image=IMAGE, bin=self.node.root / "bin", conf=self.node.conflist.parent)
        (self.root / "config.toml").write_text(config)
        script = 'mount -t tmpfs none /run && exec containerd --config "$0" --log-level warn'
        inside = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")
        command = ["nsenter", f"--net={self.node.ns}", *inside, "sh", "-c", script, str(self.root / "config.toml")]
        with (self.root / "log").open("w") as log:
            process = subprocess.Popen(command, env=self._environment(), stdout=log, stderr=log)
        try:
            tools.eventually(lambda: process.poll() is not None or self.ready(), "containerd's network is ready", 2)
            assert process.poll() is None, self.log()
            yield
        finally:
            process.kill()  # and with it everything in its namespace of processes
            process.wait(60)
            tools.eventually(self._swept, "its control groups are gone")

    def ready(self) -> bool:
        """Whether containerd finds runtime and network ready."""
        if not self.socket.exists():
            return False
        try:
            status = cri.inner(cri.call(self.socket, "Status", {}), 1)
        except (OSError, cri.RefusedError):
            return False
        conditions = [cri.decode(each) for each in status.get(1, []) if isinstance(each, bytes)]
        return {cri.text(each, 1) for each in conditions if each.get(2)} == {"RuntimeReady", "NetworkReady"}

    def log(self) -> str:
        return (self.root / "log").read_text()

    def load(self) -> None:
        command = [
            self._programs / "ctr",
            "-a",
            self.socket,
            "-n",
            "k8s.io",
            "images",
            "import",
            "--snapshotter",
            "native",
            "-",
        ]
        done = subprocess.run(command, input=image(), capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def run(self, name: str, annotations: dict[str, str] | None = None, port: int = 0) -> str:
        """A sandbox's id."""
        metadata = cri.encode({1: name, 2: f"uid-{name}", 3: "default"})
        mapped = [cri.encode({2: 80, 3: port})] if port else []
        said = [cri.encode({1: key, 2: value}) for key, value in (annotations or {}).items()]
        linux = cri.encode({1: self.cgroup})
        resolver = cri.encode({1: "10.96.0.10"})  # no searches, no options: containerd writes null for each
        config = cri.encode({1: metadata, 2: name, 4: resolver, 5: mapped, 7: said, 8: linux})
        try:
            return cri.text(cri.call(self.socket, "RunPodSandbox", {1: config}), 1)
        except cri.RefusedError:
            raise AssertionError(self.log()) from None

    def address(self, sandbox: str) -> str:
        status = cri.inner(cri.call(self.socket, "PodSandboxStatus", {1: sandbox}), 1)
        return cri.text(cri.inner(status, 5), 1)

    def end(self, sandbox: str) -> None:
        for method in ("StopPodSandbox", "StopPodSandbox", "RemovePodSandbox"):  # a kubelet repeats itself, too
            cri.call(self.socket, method, {1: sandbox})

    def namespace(self, sandbox: str) -> Path:
        """The sandbox's network, by its pause process."""
        command = [self._programs / "ctr", "-a", self.socket, "-n", "k8s.io", "tasks", "ls"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        (inside,) = [line.split()[1] for line in said.splitlines() if line.startswith(sandbox)]
        for process in Path("/proc").glob("[0-9]*"):
            try:
                status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
                ours = self.cgroup in (process / "cgroup").read_text()  # a lab's pauses may have the same number
            except OSError:
                continue
            numbers = status["NSpid"].split()  # in our namespace of processes, in containerd's, in the sandbox's own
            if ours and status["Name"].strip() == "pause" and len(numbers) == 3 and numbers[1] == inside:
                return process / "ns" / "net"
        raise AssertionError(f"no pause process {inside}")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self._programs}:{os.environ['PATH']}:/usr/sbin:/sbin"}

    def _swept(self) -> bool:
        """Take the control groups away, deepest first; one is busy until the kernel has buried its processes."""
        folders = [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if self.cgroup + "/" in f"{folder}/"]
        for folder in sorted(folders, key=len, reverse=True):
            try:
                Path(folder).rmdir()
            except OSError:
                return False
        return True


@pytest.fixture
def containerd(lab: Any, tools: Any, tmp_path: Path) -> Iterator[Containerd]:
    node = lab.node(1)
    node.start()
    root = tmp_path / "containerd"
    root.mkdir()
    found = Containerd(node, root)
    with found.running(tools):
        found.load()
        yield found


def test_pod_sandboxes_of_debians_containerd(containerd: Containerd, tools: Any, lab: Any) -> None:
    node = containerd.node
    slow = {"kubernetes.io/ingress-bandwidth": "10M"}
    web, other = containerd.run("web", port=8080), containerd.run("other", slow)
    first, second = containerd.address(web), containerd.address(other)
    assert {first, second} == {"10.244.1.2", "10.244.1.3"}
    here, there = containerd.namespace(web), containerd.namespace(other)
    assert tools.seen_source(there, here, first) == second, "sandboxes see each other as they are"
    with tools.server(here, six=False, port=80):
        assert tools.connects(lab.outside, node.addresses[0].partition("/")[0], 8080), "the host port leads to it"
    with Netlink(node.ns) as kernel:
        rates = {each.bucket.rate for each in kernel.qdiscs() if each.bucket is not None}
        assert rates == {1_250_000}, "containerd passes the annotation on"
        containerd.end(other)
        assert len([link for link in kernel.links() if link.group == 147]) == 1
        node.stop()
        containerd.end(web)
        assert [path.name for path in (node.root / "state" / "spool").iterdir()] == [f"{web}@eth0"], "no agent: later"
        node.start()
        assert [link for link in kernel.links() if link.group == 147] == []
    again = containerd.run("again")
    assert containerd.address(again) == "10.244.1.4"
    containerd.end(again)
