"""Which nodes of a lab have no agent at work yet that began with what the cluster says now, and why not.

For commands that wait. An agent is a pod of the DaemonSet, of its present template, whose startup probe was passed: its
rules are in, and those of another mode are gone. Where a user took the DaemonSet away, nobody is waited for.
"""

from collections.abc import Sequence

from clew.api.kinds import DAEMON_SET, POD
from clew.api.objects import Object, dig, is_deleting
from clew.app.manifest_objects import AGENT
from clew.watch.client import Client
from clew.watch.errors import ApiError

_SPACE = "kube-system"
REPLACED = "its agent is being replaced"
FORMER = "its agent is still the one before the change"


async def unready_agents(client: Client, nodes: Sequence[str], of: int) -> dict[str, str]:
    """By node, what is amiss with its agent; the lab has `of` nodes, some of which may be off. ApiError."""
    try:
        agents: Object = await client.get(DAEMON_SET, AGENT, _SPACE)
    except ApiError as error:
        if error.not_found:
            return {}
        raise
    everywhere = dig(agents, "status", "desiredNumberScheduled") == of  # else its user has chosen nodes for it
    pods = (await client.list(POD, _SPACE, labels=f"k8s-app={AGENT}")).items
    waiting = {}
    for node in nodes:
        here = [pod for pod in pods if pod["spec"].get("nodeName") == node and not is_deleting(pod)]
        reason = _amiss(agents, here) if here or not everywhere else REPLACED
        if reason:
            waiting[node] = reason
    return waiting


def _amiss(agents: Object, pods: Sequence[Object]) -> str:
    """Of one node; "" where all is well."""
    follows = dig(agents, "spec", "updateStrategy", "type") != "OnDelete"
    current = (dig(agents, "spec", "template", "metadata", "annotations") or {}).items()
    for pod in pods:
        if follows and not current <= (pod["metadata"].get("annotations") or {}).items():
            return FORMER
        for status in dig(pod, "status", "containerStatuses") or ():
            if not status["ready"]:
                return f"its agent {_last_words(status)}"
    return "" if all(dig(pod, "status", "containerStatuses") for pod in pods) else "its agent has not begun yet"


def _last_words(status: Object) -> str:
    """Of a container that is not ready."""
    for state in (status.get("state") or {}, status.get("lastState") or {}):
        said = ((state.get("terminated") or {}).get("message") or "").strip()
        if said:
            return f"ends: {said.splitlines()[-1]}"
    return "has not all rules in yet"
