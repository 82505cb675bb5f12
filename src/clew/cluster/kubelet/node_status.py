"""What a kubelet says of its node: addresses, capacity, conditions, versions. Pure but for what the machine tells."""

import os
import platform
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path

from clew import __version__
from clew.api.conditions import with_condition
from clew.api.objects import Object
from clew.cluster.images import ListedImage
from clew.cluster.kubelet.config import KubeletConfig
from clew.cluster.kubelet.container_spec import machine_memory
from clew.cluster.kubelet.sandboxes import NETWORK_NOT_READY

KUBELET_PORT = 10250
_MOST_IMAGES = 50
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_CALM = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


def capacity(config: KubeletConfig) -> Object:
    return {
        "cpu": str(os.cpu_count() or 1), "memory": f"{machine_memory() // 1024}Ki", "pods": str(config.max_pods),
        "ephemeral-storage": f"{_disk() // 1024}Ki",
    }  # fmt: skip


def allocatable() -> Mapping[str, Fraction | int]:
    """As numbers, for what falls back on it."""
    return {"cpu": os.cpu_count() or 1, "memory": machine_memory(), "ephemeral-storage": _disk()}


def node_object(config: KubeletConfig) -> Object:
    """A node as it registers: not ready until its network is."""
    labels = {
        "kubernetes.io/hostname": config.node, "kubernetes.io/os": "linux", "kubernetes.io/arch": _architecture(),
        "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": _architecture(), **dict(config.labels),
    }  # fmt: skip
    taints = [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    for key, value, effect in config.taints:
        taints.append({"key": key, **({"value": value} if value else {}), "effect": effect})
    return {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": config.node, "labels": labels},
        "spec": {"taints": taints},
    }  # fmt: skip


def patch(status: Object) -> Object:
    """A strategic merge patch that writes the status; addresses are replaced whole, as the real kubelet does it.

    Merged by their type, the second InternalIP would take the place of the first.
    """
    return {"status": {**status, "addresses": [*status["addresses"], {"$patch": "replace"}]}}


def node_status(
    config: KubeletConfig, before: Object, now: str, network_problem: str, images: Iterable[ListedImage] = ()
) -> Object:
    """The whole status; `network_problem` is why pods cannot be given addresses, or nothing."""
    conditions = before.get("conditions")
    ready = ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
    if network_problem:
        ready = ("Ready", "False", "KubeletNotReady", NETWORK_NOT_READY.format(network_problem))
    for name, value, reason, message in (*((each[0], "False", *each[1:]) for each in _CALM), ready):
        condition = {"type": name, "status": value, "reason": reason, "message": message}
        conditions = with_condition(conditions, condition, now)
    room = capacity(config)
    return {
        "addresses": [
            *({"type": "InternalIP", "address": address} for address in config.addresses),
            {"type": "Hostname", "address": config.node},
        ],
        "capacity": room, "allocatable": room,
        "conditions": [{**each, "lastHeartbeatTime": now} for each in conditions or ()],
        "nodeInfo": _info(config), "images": _images(images),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
    }  # fmt: skip


def says_else(node: Object, wanted: Object) -> bool:
    """Whether the API shows another state of the node than `wanted`; times do not count."""
    shown = node.get("status") or {}
    if any(shown.get(field) != wanted[field] for field in ("addresses", "capacity", "allocatable", "images")):
        return True
    found = {each["type"]: each for each in shown.get("conditions") or ()}
    return any(
        (found.get(each["type"]) or {}).get(field) != each[field]
        for each in wanted["conditions"]
        for field in ("status", "reason", "message")
    )


def _images(images: Iterable[ListedImage]) -> list[Object]:
    """The largest first, fifty at most, as kubelets list them."""
    names: dict[str, Object] = {}
    for image in images:
        names.setdefault(image.id, {"names": [], "sizeBytes": image.size})["names"].append(image.reference)
    return sorted(names.values(), key=lambda each: (-each["sizeBytes"], each["names"]))[:_MOST_IMAGES]


@cache
def _info(config: KubeletConfig) -> Object:
    return {
        "machineID": _text("/etc/machine-id"), "systemUUID": "", "bootID": boot_id(),
        "kernelVersion": platform.release(), "osImage": _os_image(), "containerRuntimeVersion": f"clew://{__version__}",
        "kubeletVersion": config.version, "kubeProxyVersion": config.version, "operatingSystem": "linux",
        "architecture": _architecture(),
    }  # fmt: skip


def _architecture() -> str:
    return _MACHINES.get(platform.machine(), platform.machine())


def _disk() -> int:
    found = os.statvfs("/var")
    return found.f_frsize * found.f_blocks


def _os_image() -> str:
    lines = _text("/etc/os-release").splitlines()
    return next((line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "Linux")


def boot_id() -> str:
    return _text("/proc/sys/kernel/random/boot_id")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
