"""What a kubelet says of its node: addresses, capacity, conditions, versions."""

import os
import platform
from pathlib import Path

from clew import __version__
from clew.api.objects import Object
from clew.cluster.kubelet.config import KubeletConfig

NOT_READY = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady"
    " message:Network plugin returns error: cni plugin not initialized"
)


def _os_image() -> str:
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "Linux"
    return next((line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "Linux")


def capacity(config: KubeletConfig) -> Object:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{memory}Ki", "pods": str(config.max_pods)}


def node_object(config: KubeletConfig) -> Object:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    labels = {
        "kubernetes.io/hostname": config.node, "kubernetes.io/os": "linux", "kubernetes.io/arch": machine,
        **dict(config.labels),
    }  # fmt: skip
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    return {"metadata": {"name": config.node, "labels": labels}, "spec": {"taints": [taint]}}


def node_status(config: KubeletConfig, before: Object, now: str, *, network: bool) -> Object:
    """The whole status; `network` tells whether pods can be given addresses."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    room = capacity(config)
    wanted = [
        ("MemoryPressure", False, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", False, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", False, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", True, "KubeletReady", "kubelet is posting ready status")
        if network
        else ("Ready", False, "KubeletNotReady", NOT_READY),
    ]
    old = {each["type"]: each for each in before.get("conditions") or ()}
    conditions: list[Object] = []
    for kind, true, reason, message in wanted:
        value = "True" if true else "False"
        same = old.get(kind, {}).get("status") == value
        conditions.append({
            "type": kind, "status": value, "reason": reason, "message": message, "lastHeartbeatTime": now,
            "lastTransitionTime": old[kind]["lastTransitionTime"] if same else now,
        })  # fmt: skip
    info = {
        "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": platform.release(), "osImage": _os_image(),
        "containerRuntimeVersion": f"clew://{__version__}", "kubeletVersion": config.version,
        "kubeProxyVersion": config.version, "operatingSystem": "linux", "architecture": machine,
    }  # fmt: skip
    addresses = [{"type": "InternalIP", "address": ip} for ip in config.addresses]
    return {
        "addresses": [*addresses, {"type": "Hostname", "address": config.node}], "capacity": room, "allocatable": room,
        "conditions": conditions, "nodeInfo": info, "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
    }  # fmt: skip
