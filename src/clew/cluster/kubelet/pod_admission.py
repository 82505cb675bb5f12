"""Whether a pod that was bound to this node may run on it; checked again here, since anyone may bind. Pure."""

from collections.abc import Iterable
from fractions import Fraction

from clew.api.objects import Object, dig, labels
from clew.api.quantity import parse
from clew.cluster.kubelet.config import KubeletConfig

ACCEPTED = ("", "")
_MESSAGE = "Pod was rejected: "
# Those that belong to a pod's own namespaces; any other is the machine's, which no pod may change.
_SAFE_SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
})  # fmt: skip


def refusal(pod: Object, node: Object, others: Iterable[Object], config: KubeletConfig) -> tuple[str, str]:
    """(reason, message) of the status Failed, or two empty texts. `others` run on the node already."""
    running = [each for each in others if dig(each, "status", "phase") not in {"Succeeded", "Failed"}]
    if len(running) + 1 > config.max_pods:
        return "OutOfpods", (
            f"{_MESSAGE}Node didn't have enough resource: pods, requested: 1, used: {len(running)}, "
            f"capacity: {config.max_pods}"
        )
    selector = pod["spec"].get("nodeSelector") or {}
    if any(labels(node).get(name) != value for name, value in selector.items()):
        return (
            "NodeAffinity",
            f"{_MESSAGE}Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        )
    if (forbidden := _forbidden_sysctl(pod["spec"])) is not None:
        return "SysctlForbidden", f"{_MESSAGE}forbidden sysctl: {forbidden}"
    if pod["spec"].get("hostUsers") is False:
        return "UnexpectedAdmissionError", f"{_MESSAGE}this node has no user namespaces for pods (hostUsers: false)"
    for name, factor in (("cpu", 1000), ("memory", 1)):
        wanted = request(pod, name) * factor
        room = Fraction(parse(dig(node, "status", "allocatable", name) or 0)) * factor
        if not (wanted and room):
            continue
        used = sum((request(each, name) * factor for each in running), Fraction(0))
        if used + wanted > room:
            return f"OutOf{name}", (
                f"{_MESSAGE}Node didn't have enough resource: {name}, requested: {int(wanted)}, used: {int(used)}, "
                f"capacity: {int(room)}"
            )
    return ACCEPTED


def _forbidden_sysctl(spec: Object) -> str | None:
    for each in (spec.get("securityContext") or {}).get("sysctls") or ():
        name = sysctl_name(each["name"])
        if name not in _SAFE_SYSCTLS:
            return f'"{each["name"]}" not allowlisted'
        for host, prefix, what in (("hostNetwork", "net.", "net"), ("hostIPC", "kernel.", "ipc")):
            if spec.get(host) and name.startswith(prefix):
                return f'"{each["name"]}" not allowed with host {what} enabled'
    return None


def sysctl_name(written: str) -> str:
    """With dots between its parts: they may be written as slashes."""
    return written.replace("/", ".") if "/" in written.partition(".")[0] else written


def request(pod: Object, name: str) -> Fraction:
    """What the pod asks for: its containers and sidecars together, or its largest init container, if that is more."""

    def own(container: Object) -> Fraction:
        resources = container.get("resources") or {}
        written = (resources.get("requests") or {}).get(name, (resources.get("limits") or {}).get(name))
        return Fraction(parse(written)) if written is not None else Fraction(0)

    spec = pod["spec"]
    together = sum((own(each) for each in spec["containers"]), Fraction(0))
    largest, sidecars = Fraction(0), Fraction(0)
    for each in spec.get("initContainers") or ():
        if each.get("restartPolicy") == "Always":
            sidecars += own(each)
            largest = max(largest, sidecars)
        else:
            largest = max(largest, sidecars + own(each))
    overhead = Fraction(parse((spec.get("overhead") or {}).get(name, 0)))
    return max(together + sidecars, largest) + overhead
