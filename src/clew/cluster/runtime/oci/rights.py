"""What a container may do: its capabilities, and the system calls that go with them.

The defaults are those of containerd and Docker, so that what runs here is what runs there. The lists are data
(`data/system-calls.json`), grouped by what the calls are about.
"""

import platform
from collections.abc import Collection
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

DEFAULT_CAPABILITIES = (
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
)  # fmt: skip

# linux/capability.h, by number
_NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip

_ARCHITECTURES = {"x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]}
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW… flag that clone(2) takes
_ENOSYS, _EPERM = 38, 1
_AF_VSOCK = 40

Seccomp = dict[str, Any]


@cache
def available_capabilities() -> tuple[str, ...]:
    """Those that this machine can give away: not all, where it is itself a container or a guest."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapBnd:"):
            mask = int(line.split()[1], 16)
            return tuple(f"CAP_{name}" for number, name in enumerate(_NAMES) if mask >> number & 1)
    return ()


def capabilities(
    add: Collection[str], drop: Collection[str], *, privileged: bool, available: Collection[str]
) -> list[str]:
    """A container's capabilities; `add` and `drop` as in a securityContext, `ALL` included."""
    added, dropped = {_full(name) for name in add}, {_full(name) for name in drop}
    if privileged:
        return sorted(available)
    wanted = set(available) if "CAP_ALL" in added else set(DEFAULT_CAPABILITIES)
    if "CAP_ALL" in dropped:
        wanted = set()
    return sorted(((wanted | added) - dropped - {"CAP_ALL"}) & set(available))


def seccomp(held: Collection[str], machine: str = "") -> Seccomp:
    """The default profile for a process with these capabilities: what is not named fails with EPERM."""
    return _seccomp(frozenset(held), machine or platform.machine())


@cache
def _seccomp(held: frozenset[str], machine: str) -> Seccomp:
    lists = _lists()
    allowed: set[str] = set()
    for names in lists["always"].values():
        allowed.update(names)
    for capability, names in lists["with"].items():
        if capability in held:
            allowed.update(names)
    allowed.update(lists["machine"].get(machine, ()))
    rules: list[Seccomp] = [_rule(sorted(allowed), "SCMP_ACT_ALLOW")]
    rules.append(_rule(["socket"], "SCMP_ACT_ALLOW", {"index": 0, "value": _AF_VSOCK, "op": "SCMP_CMP_NE"}))
    rules += [
        _rule(["personality"], "SCMP_ACT_ALLOW", {"index": 0, "value": value, "op": "SCMP_CMP_EQ"})
        for value in lists["personality"]
    ]
    if "CAP_SYS_ADMIN" not in held:
        no_namespaces = {"index": 0, "value": _NEW_NAMESPACES, "op": "SCMP_CMP_MASKED_EQ"}
        rules.append(_rule(["clone"], "SCMP_ACT_ALLOW", no_namespaces))
        # Its flags are behind a pointer; "not implemented" makes C libraries fall back to clone.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": _EPERM, "architectures": _ARCHITECTURES.get(machine, []),
        "syscalls": rules,
    }  # fmt: skip


def _rule(names: list[str], action: str, *arguments: dict[str, Any]) -> Seccomp:
    return {"names": names, "action": action} | ({"args": list(arguments)} if arguments else {})


def _full(name: str) -> str:
    name = name.upper()
    return name if name.startswith("CAP_") else f"CAP_{name}"


@cache
def _lists() -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(
        resources.files("clew.cluster.runtime.oci").joinpath("data/system-calls.json").read_bytes()
    )
    return found
