"""A container as config.json says it: process, mounts, namespaces, limits. Pure.

The supervisor fills in the root's path. Follows the OCI runtime specification 1.0.2 and, where that leaves a choice,
what containerd's CRI plugin does.
"""

from typing import Any, Literal

from clew.base.value import Value
from clew.cluster.runtime.oci import rights

Config = dict[str, Any]
Propagation = Literal["private", "slave", "shared"]

_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_DEVICES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2))  # null zero full random urandom tty ptmx
_PTS = 136
_PERIOD = 100_000  # microseconds
_SAFE = ["nosuid", "noexec", "nodev"]


class Mount(Value):
    """A folder or file of the node shown in the container."""

    source: str
    target: str
    read_only: bool = False
    propagation: Propagation = "private"


class User(Value):
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


class Limits(Value):
    """0 means none (cpu_shares: the kernel's default)."""

    cpu_shares: int = 0
    cpu_quota: int = 0  # microseconds of processor time in each 100,000
    memory: int = 0  # bytes


class Rights(Value):
    """A securityContext, resolved."""

    privileged: bool = False
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    read_only_root: bool = False
    seccomp: bool = True  # the default profile; False: none
    masked: bool = True  # procMount Default


class Namespaces(Value):
    """Whose namespaces the container joins; paths are the node's. An empty path is the node's own, "new" a new one."""

    network: str = "new"
    ipc: str = "new"
    uts: str = "new"
    pid: str = "new"


class ContainerSpec(Value):
    args: tuple[str, ...]
    group: str  # control group
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: User = User()
    tty: bool = False
    mounts: tuple[Mount, ...] = ()
    shared_memory: str = ""  # the pod's /dev/shm, a folder of the node
    namespaces: Namespaces = Namespaces()
    limits: Limits = Limits()
    rights: Rights = Rights()
    oom_score: int | None = None
    open_files: int = 0  # limit of descriptors; 0 keeps the node's
    unified_cgroups: bool = False  # the machine has cgroup v2 only
    devices: tuple[Config, ...] = ()  # for privileged containers: the machine's, in the specification's words


def config(spec: ContainerSpec, available: tuple[str, ...]) -> Config:
    """The whole config.json; `available` are the capabilities this machine can give."""
    held = rights.capabilities(
        spec.rights.add, spec.rights.drop, privileged=spec.rights.privileged, available=available
    )
    linux: Config = {
        "cgroupsPath": spec.group, "namespaces": _namespaces(spec), "resources": _resources(spec),
        "rootfsPropagation": _root_propagation(spec.mounts),
    }  # fmt: skip
    if spec.rights.privileged:
        linux["devices"] = list(spec.devices)
    else:
        if spec.rights.masked:
            linux |= {"maskedPaths": list(_MASKED), "readonlyPaths": list(_READ_ONLY)}
        if spec.rights.seccomp:
            linux["seccomp"] = rights.seccomp(held)
    return {
        "ociVersion": "1.0.2",
        "process": _process(spec, held),
        "root": {"path": "", "readonly": spec.rights.read_only_root},
        "mounts": [*_system_mounts(spec), *(_bind(mount) for mount in _in_order(spec.mounts))],
        "linux": linux,
    }


def _process(spec: ContainerSpec, held: list[str]) -> Config:
    made: Config = {
        "terminal": spec.tty,
        "user": {"uid": spec.user.uid, "gid": spec.user.gid, "additionalGids": list(spec.user.groups)},
        "args": list(spec.args), "env": list(spec.env), "cwd": spec.cwd or "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), held),
        "noNewPrivileges": spec.rights.no_new_privileges,
    }  # fmt: skip
    if spec.oom_score is not None:
        made["oomScoreAdj"] = spec.oom_score
    if spec.open_files:
        made["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": spec.open_files, "hard": spec.open_files}]
    return made


def _namespaces(spec: ContainerSpec) -> list[Config]:
    joined = spec.namespaces
    made: list[Config] = [{"type": "mount"}]
    for kind, path in (("network", joined.network), ("ipc", joined.ipc), ("uts", joined.uts), ("pid", joined.pid)):
        if path == "new":
            made.append({"type": kind})
        elif path:
            made.append({"type": kind, "path": path})
    if spec.unified_cgroups and not spec.rights.privileged:
        made.append({"type": "cgroup"})
    return made


def _system_mounts(spec: ContainerSpec) -> list[Config]:
    mode = "rw" if spec.rights.privileged else "ro"
    shm = (
        {"destination": "/dev/shm", "type": "bind", "source": spec.shared_memory, "options": ["rbind", "rw"]}  # noqa: S108
        if spec.shared_memory
        else _mount("/dev/shm", "tmpfs", "shm", [*_SAFE, "mode=1777", "size=65536k"])  # noqa: S108
    )
    return [
        _mount("/proc", "proc", "proc", _SAFE),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts", "devpts", "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/dev/mqueue", "mqueue", "mqueue", _SAFE),
        shm,
        _mount("/sys", "sysfs", "sysfs", [*_SAFE, mode]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*_SAFE, "relatime", mode]),
    ]  # fmt: skip


def _mount(target: str, kind: str, source: str, options: list[str]) -> Config:
    return {"destination": target, "type": kind, "source": source, "options": options}


def _bind(mount: Mount) -> Config:
    options = ["rbind", f"r{mount.propagation}", "ro" if mount.read_only else "rw"]
    return _mount(mount.target, "bind", mount.source, options)


def _in_order(mounts: tuple[Mount, ...]) -> list[Mount]:
    """What lies inside another mount comes after it, whatever order a pod names them in."""
    return sorted(mounts, key=lambda mount: mount.target.rstrip("/").count("/"))


def _root_propagation(mounts: tuple[Mount, ...]) -> str:
    kinds = {mount.propagation for mount in mounts}
    return "rshared" if "shared" in kinds else "rslave" if "slave" in kinds else "rprivate"


def _resources(spec: ContainerSpec) -> Config:
    devices: list[Config] = [{"allow": spec.rights.privileged, "access": "rwm"}]
    if not spec.rights.privileged:
        devices += [
            {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"} for major, minor in _DEVICES
        ]
        devices.append({"allow": True, "type": "c", "major": _PTS, "access": "rwm"})
    made: Config = {"devices": devices}
    cpu: Config = {}
    if spec.limits.cpu_shares:
        cpu["shares"] = spec.limits.cpu_shares
    if spec.limits.cpu_quota:
        cpu |= {"quota": spec.limits.cpu_quota, "period": _PERIOD}
    if cpu:
        made["cpu"] = cpu
    if spec.limits.memory:
        made["memory"] = {"limit": spec.limits.memory}
    return made
