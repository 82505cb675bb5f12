"""The OCI runtime specification of a container (config.json), from what the kubelet has decided. Pure."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from clew.base.value import Value

Config = dict[str, Any]
CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Mount(Value):
    """A bind of `source`, or a filesystem of `kind`, at `target`."""

    source: str
    target: str
    kind: str = "bind"
    options: tuple[str, ...] = ("rbind", "rprivate", "rw")
    is_file: bool = False


class ContainerSpec(Value):
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    cgroup: str
    available: tuple[str, ...]  # capabilities that this machine can give
    mounts: tuple[Mount, ...] = ()
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    tty: bool = False
    hostname: str = ""
    network: str = ""  # a namespace's path; "": the node's own
    pause_pid: int = 0  # whose ipc and uts namespaces are shared; 0: its own
    share_pid: bool = False
    privileged: bool = False
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    read_only_root: bool = False
    seccomp: bool = True
    cpu_shares: int = 0
    cpu_quota: int = 0  # microseconds of each 100,000
    memory: int = 0  # bytes
    sysctls: tuple[tuple[str, str], ...] = ()
    oom_score: int | None = None


@cache
def _seccomp() -> Config:
    found: Config = msgspec.json.decode(resources.files("clew.cluster.oci.data").joinpath("seccomp.json").read_bytes())
    return found


def _capabilities(spec: ContainerSpec) -> list[str]:
    if spec.privileged or "CAP_ALL" in spec.add:
        return list(spec.available)
    base = () if "CAP_ALL" in spec.drop else CAPABILITIES
    wanted = {each for each in (*base, *spec.add) if each not in spec.drop}
    return sorted(wanted.intersection(spec.available))


def process(spec: ContainerSpec, args: Sequence[str], *, tty: bool) -> Config:
    """What runs, also for a command executed later."""
    capabilities = _capabilities(spec)
    sets = ("bounding", "effective", "permitted")
    env = (
        [*spec.env, "TERM=xterm"] if tty and not any(each.startswith("TERM=") for each in spec.env) else list(spec.env)
    )
    made: Config = {
        "terminal": tty,
        "user": {"uid": spec.uid, "gid": spec.gid, "additionalGids": list(spec.groups)},
        "args": list(args), "env": env, "cwd": spec.cwd or "/",
        "capabilities": {name: capabilities if not spec.uid or name == "bounding" else [] for name in sets},
        "noNewPrivileges": spec.no_new_privileges,
    }  # fmt: skip
    if spec.oom_score is not None:
        made["oomScoreAdj"] = spec.oom_score
    return made


def _namespaces(spec: ContainerSpec) -> list[Config]:
    shared = f"/proc/{spec.pause_pid}/ns" if spec.pause_pid else ""
    made: list[Config] = [{"type": "mount"}]
    made += [{"type": kind, "path": f"{shared}/{kind}"} if shared else {"type": kind} for kind in ("ipc", "uts")]
    if spec.share_pid and spec.pause_pid:
        made.append({"type": "pid", "path": f"/proc/{spec.pause_pid}/ns/pid"})
    else:
        made.append({"type": "pid"})
    if spec.network:
        made.append({"type": "network", "path": spec.network})
    return made


def _system_mounts(spec: ContainerSpec) -> list[Config]:
    safe = ["nosuid", "noexec", "nodev"]
    sys_mode = "rw" if spec.privileged else "ro"
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": safe},
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": safe},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*safe, "mode=1777", "size=65536k"]},  # noqa: S108
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*safe, sys_mode]},
    ]  # fmt: skip


def _resources(spec: ContainerSpec) -> Config:
    devices: list[Config] = [{"allow": True, "access": "rwm"}] if spec.privileged else [
        {"allow": False, "access": "rwm"},
        *({"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
          for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2))),
        {"allow": True, "type": "c", "major": 136, "access": "rwm"},
    ]  # fmt: skip
    made: Config = {"devices": devices}
    cpu = {key: value for key, value in (("shares", spec.cpu_shares), ("quota", spec.cpu_quota)) if value}
    if spec.cpu_quota:
        cpu["period"] = 100_000
    if cpu:
        made["cpu"] = cpu
    if spec.memory:
        made["memory"] = {"limit": spec.memory}
    return made


def config(spec: ContainerSpec) -> Config:
    """The whole config.json; the supervisor fills in the root's path."""
    linux: Config = {
        "cgroupsPath": f"/{spec.cgroup}", "namespaces": _namespaces(spec), "resources": _resources(spec),
    }  # fmt: skip
    if not spec.privileged:
        linux |= {"maskedPaths": list(_MASKED), "readonlyPaths": list(_READ_ONLY)}
        if spec.seccomp:
            linux["seccomp"] = _seccomp()
    if spec.sysctls:
        linux["sysctl"] = dict(spec.sysctls)
    if any("rslave" in mount.options or "rshared" in mount.options for mount in spec.mounts):
        linux["rootfsPropagation"] = "rslave"
    made: Config = {
        "ociVersion": "1.0.2", "process": process(spec, spec.args, tty=spec.tty),
        "root": {"path": "", "readonly": spec.read_only_root},
        "mounts": [*_system_mounts(spec), *map(_mount, spec.mounts)], "linux": linux,
    }  # fmt: skip
    if spec.hostname and not spec.pause_pid:
        made["hostname"] = spec.hostname
    return made


def _mount(mount: Mount) -> Config:
    return {
        "destination": mount.target, "type": mount.kind, "source": mount.source, "options": list(mount.options),
    }  # fmt: skip


def run_request(
    name: str, spec: ContainerSpec, lowers: Sequence[str], labels: Mapping[str, str], log: str, *, stdin: bool
) -> Config:
    """What the supervisor is asked to run."""
    binds = [mount for mount in spec.mounts if mount.kind == "bind"]
    return {
        "id": name, "config": config(spec), "lowers": list(lowers), "labels": dict(labels), "log": log,
        "tty": spec.tty, "stdin": stdin, "mountpoints": [mount.target for mount in spec.mounts],
        "files": [mount.target for mount in binds if mount.is_file],
    }  # fmt: skip
