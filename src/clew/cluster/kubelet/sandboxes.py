"""A pod's sandbox: network namespace, addresses by CNI, pause process; made in this order, undone in reverse."""

import secrets
from collections.abc import Mapping

from clew.api.objects import Object
from clew.base.errors import WorldError
from clew.cluster.kubelet import resolv
from clew.cluster.kubelet.cni import CniError
from clew.cluster.kubelet.container_spec import oom_lowest
from clew.cluster.kubelet.instances import Sandbox, pod_labels, sandbox_of
from clew.cluster.kubelet.pod_admission import sysctl_name
from clew.cluster.kubelet.surroundings import Surroundings
from clew.cluster.runtime.errors import NodeError, NodeLostError

_PAUSE_SCORE = -998
NETWORK_NOT_READY = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: {}"
)


class SandboxError(WorldError):
    """There is no sandbox for now; `reason` is the Event's."""

    def __init__(self, reason: str, message: str, left: Sandbox | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.left = left  # what could not be undone yet; it must be removed before another is made


class Sandboxes:
    """All pods' of one node."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def check_network(self, pod: Object) -> None:
        """SandboxError while the node's network attaches no pods and this one needs it."""
        problem = self._around.network_problem
        if problem and not pod["spec"].get("hostNetwork"):
            raise SandboxError("NetworkNotReady", f"network is not ready: {NETWORK_NOT_READY.format(problem)}")

    async def create(self, pod: Object, attempt: int) -> Sandbox:
        """A ready sandbox; SandboxError after whatever was done has been undone."""
        around, spec = self._around, pod["spec"]
        own_network = not spec.get("hostNetwork")
        identity = secrets.token_hex(32)
        sysctls = {
            sysctl_name(each["name"]): each["value"]
            for each in (spec.get("securityContext") or {}).get("sysctls") or ()
        }
        try:
            # Whoever dies from here on, the sandbox's notes say with what DEL must be called.
            notes = {"network": around.cni.plan(pod)} if own_network else {}
            record = await around.handle.ask(
                "sandbox_create", sandbox=identity, labels=pod_labels(pod) | {"attempt": str(attempt)},
                network=own_network, sysctls=sysctls, notes=notes,
            )  # fmt: skip
            addresses = around.config.addresses
            if own_network:
                addresses = await self._attach(identity, record["record"]["netns"], pod, notes["network"])
            started = await around.handle.ask(
                "sandbox_start", sandbox=identity, own_ipc=not spec.get("hostIPC"),
                hostname=resolv.hostname(pod, around.config) if own_network else "",
                score=max(_PAUSE_SCORE, oom_lowest()),
            )  # fmt: skip
        except NodeLostError:
            raise
        except (NodeError, CniError) as problem:
            left = await self._undo(identity, pod)
            raise SandboxError(
                "FailedCreatePodSandBox",
                "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "
                f'"{identity}": {problem}'
                if isinstance(problem, CniError)
                else f"Failed to create pod sandbox: {problem.message}",
                left,
            ) from problem
        found = sandbox_of(started["record"])
        return found if own_network else _with_addresses(found, addresses)

    async def _attach(self, identity: str, netns: str, pod: Object, network: Object) -> tuple[str, ...]:
        attached = await self._around.cni.add(identity, netns, pod, network)
        await self._around.handle.ask(
            "sandbox_note", sandbox=identity, notes={"addresses": attached.addresses, "result": attached.result}
        )
        return attached.addresses

    async def _undo(self, identity: str, pod: Object) -> Sandbox | None:
        """Take back what was made; what the network does not let go of yet is returned, and not ready."""
        listed = await self._around.handle.ask("list")
        for record in listed["sandboxes"]:
            if record["id"] != identity:
                continue
            try:
                await self.remove(sandbox_of(record), pod_labels(pod))
            except NodeLostError:
                raise
            except (NodeError, CniError):
                return sandbox_of({**record, "state": "stopped"})
        return None

    async def remove(self, sandbox: Sandbox, labels: Mapping[str, str]) -> None:
        """End the pause process, detach from the network, forget. CniError when the network does not let go yet."""
        around = self._around
        await around.handle.ask("sandbox_stop", sandbox=sandbox.id)
        if sandbox.netns and sandbox.network:
            await around.cni.delete(sandbox, labels)
        await around.handle.ask("sandbox_remove", sandbox=sandbox.id)

    def group(self, uid: str) -> str:
        """The control group of a pod."""
        return f"{self._around.handle.group}/pod{uid}"


def _with_addresses(sandbox: Sandbox, addresses: tuple[str, ...]) -> Sandbox:
    return Sandbox(
        sandbox.id, sandbox.attempt, sandbox.ready, sandbox.netns, sandbox.pid, addresses, created=sandbox.created
    )
