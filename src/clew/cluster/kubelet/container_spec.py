"""From a container of a pod to the runtime's specification of it. Pure but for the image's accounts."""

import os
import resource
from fractions import Fraction
from functools import cache
from pathlib import Path

from clew.api.objects import Object, dig
from clew.api.quantity import parse
from clew.base.value import Value
from clew.cluster.admission import qos_class
from clew.cluster.images import Image
from clew.cluster.kubelet.env import ConfigError
from clew.cluster.kubelet.instances import Sandbox
from clew.cluster.runtime.oci import ContainerSpec, Limits, Mount, Namespaces, Rights, User, available_capabilities
from clew.cluster.runtime.oci.devices import machine_devices
from clew.cluster.runtime.supervisor import cgroups

_LEAST_SHARES, _MOST_SHARES = 2, 262_144
_UNASKED_SHARES = 102  # as if 100m were asked for: with the kubelet's 2, pods of a busy machine stand still
_PERIOD = 100_000


class Made(Value):
    """What was worked out before: command, environment, user, mounts (the volumes' and the managed files')."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    user: User
    mounts: tuple[Mount, ...]
    group: str
    shared_memory: str = ""
    target_pid: int = 0  # an ephemeral container's target


def container_spec(pod: Object, container: Object, image: Image, sandbox: Sandbox, made: Made) -> ContainerSpec:
    """ConfigError for what this node has not."""
    rights = _rights(pod, container)
    return ContainerSpec(
        args=made.args,
        group=made.group,
        env=made.env,
        cwd=container.get("workingDir") or image.working_dir or "/",
        user=made.user,
        tty=bool(container.get("tty")),
        mounts=made.mounts,
        shared_memory=made.shared_memory,
        namespaces=_namespaces(pod, sandbox, made.target_pid),
        limits=limits(container),
        rights=rights,
        oom_score=oom_score(pod, container),
        open_files=_open_files(),
        unified_cgroups=cgroups.unified(),
        devices=machine_devices() if rights.privileged else (),
    )


def _rights(pod: Object, container: Object) -> Rights:
    shared, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    privileged = bool(own.get("privileged"))
    profile = own.get("seccompProfile") or shared.get("seccompProfile") or {}
    if profile.get("type") == "Localhost":
        raise ConfigError(
            f"cannot load seccomp profile {profile.get('localhostProfile')}: this node has none of its own"
        )
    added = dig(own, "capabilities", "add") or ()
    escalates = own.get("allowPrivilegeEscalation")
    return Rights(
        privileged=privileged,
        add=tuple(added),
        drop=tuple(dig(own, "capabilities", "drop") or ()),
        no_new_privileges=escalates is False and not privileged,
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        seccomp=profile.get("type", "RuntimeDefault") != "Unconfined",
        masked=own.get("procMount", "Default") != "Unmasked",
    )


def _namespaces(pod: Object, sandbox: Sandbox, target_pid: int) -> Namespaces:
    spec = pod["spec"]
    held = f"/proc/{sandbox.pid}/ns"
    pid = "new"
    if spec.get("hostPID"):
        pid = ""
    elif spec.get("shareProcessNamespace"):
        pid = f"{held}/pid"
    elif target_pid:
        pid = f"/proc/{target_pid}/ns/pid"
    own_network = not spec.get("hostNetwork")
    return Namespaces(
        network=f"{held}/net" if own_network else "",
        uts=f"{held}/uts" if own_network else "",
        ipc="" if spec.get("hostIPC") else f"{held}/ipc",
        pid=pid,
    )


def limits(container: Object) -> Limits:
    """Shares from the request, a quota and a ceiling from the limits, as the kubelet computes them."""
    resources = container.get("resources") or {}
    asked, most = resources.get("requests") or {}, resources.get("limits") or {}
    cpu = asked.get("cpu", most.get("cpu"))
    shares = _UNASKED_SHARES
    if cpu is not None:
        shares = min(max(int(Fraction(parse(cpu)) * 1024), _LEAST_SHARES), _MOST_SHARES)
    quota = max(int(Fraction(parse(most["cpu"])) * _PERIOD), 1000) if most.get("cpu") else 0
    return Limits(cpu_shares=shares, cpu_quota=quota, memory=int(parse(most["memory"])) if most.get("memory") else 0)


def oom_score(pod: Object, container: Object) -> int:
    """Whom the kernel kills first when memory runs out; never lower than this process may give."""
    kind = qos_class(pod)
    if kind == "Guaranteed":
        wanted = -997
    elif kind == "BestEffort":
        wanted = 1000
    else:
        asked = dig(container, "resources", "requests", "memory") or 0
        share = int(parse(asked)) * 1000 // machine_memory()
        wanted = min(max(1000 - share, 3), 999)
    return max(wanted, oom_lowest())


@cache
def machine_memory() -> int:
    """Bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@cache
def oom_lowest() -> int:
    """Lowering a score takes a right that root in a container may lack."""
    if "CAP_SYS_RESOURCE" in available_capabilities():
        return -1000
    return int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii"))


@cache
def _open_files() -> int:
    """As many descriptors as container hosts give, where this machine lets us."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return min(1 << 20, hard) if hard != resource.RLIM_INFINITY else 1 << 20
