"""The supervisor's records as values: what ran and runs on the node, and to which container of which pod it belongs.

Everything a kubelet must know again after the daemon's restart travels in the records' labels.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from clew.api.objects import Object
from clew.base.value import Value

Record = Mapping[str, Any]


class Instance(Value):
    """One run of a container; a restart makes another with the next `attempt`."""

    id: str
    sandbox: str
    container: str
    attempt: int
    running: bool
    log: str = ""
    started: str = ""  # RFC 3339, nanoseconds
    finished: str = ""
    code: int = 0
    signal: int = 0
    reason: str = ""  # OOMKilled, Unknown (the node lost power), StartError
    message: str = ""  # the termination message
    image: str = ""  # as the pod names it
    image_id: str = ""
    stop_signal: str = ""  # by name; empty for SIGTERM
    spec: str = ""  # what a change of the pod's container would change
    pid: int = 0


class Sandbox(Value):
    """A pod's namespaces; `ready` while its pause process lives."""

    id: str
    attempt: int
    ready: bool
    netns: str = ""  # the node's path; empty for the node's own network
    pid: int = 0
    addresses: tuple[str, ...] = ()
    network: Any = None  # the CNI configuration that ADD was called with, for DEL
    result: Any = None  # what ADD answered
    created: str = ""


class PodRecords(Value):
    """All that the node knows of one pod, oldest first."""

    namespace: str
    name: str
    uid: str
    sandboxes: tuple[Sandbox, ...] = ()
    instances: tuple[Instance, ...] = ()

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest one, ready or not."""
        return self.sandboxes[-1] if self.sandboxes else None

    def having(self, instance: Instance) -> "PodRecords":
        """With this run in place of what was known of it; what has ended does not run again."""
        if any(each.id == instance.id and not each.running for each in self.instances) and instance.running:
            return self
        others = [each for each in self.instances if each.id != instance.id]
        return self._with(instances=sorted([*others, instance], key=lambda each: each.attempt))

    def without(self, instance: str) -> "PodRecords":
        return self._with(instances=[each for each in self.instances if each.id != instance])

    def in_sandbox(self, sandbox: Sandbox) -> "PodRecords":
        """With this sandbox in place of what was known of it; one that was lost stays lost."""
        if any(each.id == sandbox.id and not each.ready for each in self.sandboxes) and sandbox.ready:
            return self
        others = [each for each in self.sandboxes if each.id != sandbox.id]
        return self._with(sandboxes=sorted([*others, sandbox], key=lambda each: each.attempt))

    def without_sandbox(self, sandbox: str) -> "PodRecords":
        return self._with(sandboxes=[each for each in self.sandboxes if each.id != sandbox])

    def _with(
        self, sandboxes: Iterable[Sandbox] | None = None, instances: Iterable[Instance] | None = None
    ) -> "PodRecords":
        return PodRecords(
            self.namespace,
            self.name,
            self.uid,
            self.sandboxes if sandboxes is None else tuple(sandboxes),
            self.instances if instances is None else tuple(instances),
        )

    def latest(self, container: str) -> Instance | None:
        found = [instance for instance in self.instances if instance.container == container]
        return found[-1] if found else None

    def previous(self, container: str) -> Instance | None:
        found = [instance for instance in self.instances if instance.container == container]
        return found[-2] if len(found) > 1 else None


def pod_labels(pod: Object) -> dict[str, str]:
    meta = pod["metadata"]
    return {"namespace": meta["namespace"], "pod": meta["name"], "uid": meta["uid"]}


def instance_of(record: Record, message: str = "") -> Instance:
    labels = record["labels"]
    return Instance(
        id=record["id"],
        sandbox=record["sandbox"],
        container=labels["container"],
        attempt=int(labels["attempt"]),
        running=record["state"] == "running",
        log=record.get("log", ""),
        started=record.get("started", record.get("created", "")),
        finished=record.get("finished", ""),
        code=record.get("code", 0),
        signal=record.get("signal", 0),
        reason=record.get("reason", ""),
        message=message,
        image=labels.get("image", ""),
        image_id=labels.get("image_id", ""),
        stop_signal=labels.get("stop_signal", ""),
        spec=labels.get("spec", ""),
        pid=record.get("pid", 0),
    )


def sandbox_of(record: Record) -> Sandbox:
    notes = record.get("notes") or {}
    return Sandbox(
        id=record["id"],
        attempt=int(record["labels"]["attempt"]),
        ready=record["state"] == "ready",
        netns=record["netns"],
        pid=record["pid"],
        addresses=tuple(notes.get("addresses") or ()),
        network=notes.get("network"),
        result=notes.get("result"),
        created=record.get("created", ""),
    )


def by_pod(sandboxes: Iterable[Record], containers: Iterable[Record]) -> dict[str, PodRecords]:
    """Every pod's records by uid."""
    found: dict[str, tuple[Mapping[str, str], list[Sandbox], list[Instance]]] = {}

    def place(labels: Mapping[str, str]) -> tuple[Mapping[str, str], list[Sandbox], list[Instance]]:
        return found.setdefault(labels["uid"], (labels, [], []))

    for record in sandboxes:
        place(record["labels"])[1].append(sandbox_of(record))
    for record in containers:
        if record["state"] != "created":
            place(record["labels"])[2].append(instance_of(record))
    return {
        uid: PodRecords(
            labels["namespace"],
            labels["pod"],
            uid,
            tuple(sorted(boxes, key=lambda box: box.attempt)),
            tuple(sorted(instances, key=lambda instance: instance.attempt)),
        )
        for uid, (labels, boxes, instances) in found.items()
    }
