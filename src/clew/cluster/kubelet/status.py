"""A pod's status from its spec, what ran and runs, and what the kubelet waits for. Pure.

Phases, conditions and container states are those of the pod lifecycle documentation; reasons and messages are the real
kubelet's. Conditions that others set (readiness gates) are left alone.
"""

from collections.abc import Mapping
from typing import Any

from clew.api.conditions import find
from clew.api.objects import Object, metadata
from clew.base.value import Value
from clew.cluster.admission import qos_class
from clew.cluster.kubelet.instances import Instance, PodRecords
from clew.cluster.kubelet.plan import Container, containers

EPOCH = "1970-01-01T00:00:00Z"
RUNTIME = "clew"


class Waiting(Value):
    """Why a container does not run: `reason` one word (CrashLoopBackOff), `message` a sentence or nothing."""

    reason: str
    message: str = ""


class Observed(Value):
    """Beside the records, what the kubelet alone knows of a pod."""

    addresses: tuple[str, ...] = ()
    host_addresses: tuple[str, ...] = ()
    waiting: Mapping[str, Waiting] = {}  # by container, while it is to run and does not
    unready: frozenset[str] = frozenset()  # running, but its readiness probe has not passed
    unstarted: frozenset[str] = frozenset()  # running, but its startup probe has not passed
    finished: bool = False  # nothing will run again
    failure: tuple[str, str] = ("", "")  # reason and message of a pod that failed as a whole


def pod_status(pod: Object, records: PodRecords, seen: Observed, now: str) -> Object:
    """The whole status to be written; `now` is metav1.Time."""
    return _Status(pod, records, seen, now).make()


def second(stamp: str) -> str:
    """metav1.Time of a stamp with nanoseconds."""
    return f"{stamp[:19]}Z" if stamp else EPOCH


class _Status:
    def __init__(self, pod: Object, records: PodRecords, seen: Observed, now: str) -> None:
        self.pod = pod
        self.records = records
        self.seen = seen
        self.now = now
        self.before: Mapping[str, Any] = pod.get("status") or {}
        self.all = containers(pod)
        self.told = {
            each["name"]: each
            for field in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
            for each in self.before.get(field) or ()
        }

    def make(self) -> Object:
        made: Object = {
            "phase": self.phase(),
            "qosClass": self.before.get("qosClass") or qos_class(self.pod),
            "startTime": self.before.get("startTime") or self.now,
            "observedGeneration": metadata(self.pod).get("generation") or 1,
        }
        if self.seen.host_addresses:
            made["hostIP"] = self.seen.host_addresses[0]
            made["hostIPs"] = [{"ip": each} for each in self.seen.host_addresses]
        if self.seen.addresses:
            made["podIP"] = self.seen.addresses[0]
            made["podIPs"] = [{"ip": each} for each in self.seen.addresses]
        if any(self.seen.failure):
            made["reason"], made["message"] = self.seen.failure
        for field, roles in (
            ("initContainerStatuses", {"init", "sidecar"}),
            ("containerStatuses", {"regular"}),
            ("ephemeralContainerStatuses", {"ephemeral"}),
        ):
            listed = [self.container(each) for each in self.all if each.role in roles]
            if listed:
                made[field] = listed
        made["conditions"] = self.conditions(made["phase"])
        return made

    # Phase.

    def phase(self) -> str:
        if self.seen.failure[0]:
            return "Failed"
        before = self.before.get("phase")
        if before in {"Succeeded", "Failed"}:
            return str(before)
        inits = [each for each in self.all if each.role == "init"]
        regular = [each for each in self.all if each.role == "regular"]
        if any(self._failed_for_good(each) for each in inits):
            return "Failed" if self.seen.finished else "Pending"
        latest = [self.records.latest(each.name) for each in regular]
        if any(each is None for each in latest):
            return "Pending"
        if not self.seen.finished:
            return "Running"
        return "Succeeded" if all(each is not None and each.code == 0 for each in latest) else "Failed"

    def _failed_for_good(self, container: Container) -> bool:
        latest = self.records.latest(container.name)
        return latest is not None and not latest.running and latest.code != 0 and container.policy == "Never"

    # Containers.

    def container(self, container: Container) -> Object:
        latest = self.records.latest(container.name)
        made: Object = {
            "name": container.name,
            "image": latest.image if latest is not None else container.spec.get("image", ""),
            "imageID": latest.image_id if latest is not None else "",
            "restartCount": latest.attempt if latest is not None else self._told_restarts(container),
            "ready": self.is_ready(container),
            "started": self._is_started(container),
            "state": self._state(container, latest),
            "lastState": {},
        }
        if latest is not None:
            made["containerID"] = f"{RUNTIME}://{latest.id}"
        last = latest if "waiting" in made["state"] else self.records.previous(container.name)
        if last is not None and not last.running:
            made["lastState"] = {"terminated": terminated(last)}
        elif latest is None and (told := self.told.get(container.name)) is not None:
            made["lastState"] = told.get("lastState") or {}
        return made

    def _told_restarts(self, container: Container) -> int:
        return int(self.told.get(container.name, {}).get("restartCount") or 0)

    def _state(self, container: Container, latest: Instance | None) -> Object:
        if latest is not None and latest.running:
            return {"running": {"startedAt": second(latest.started)}}
        waiting = self.seen.waiting.get(container.name)
        if waiting is not None:
            return {"waiting": _waiting(waiting)}
        if latest is not None:
            return {"terminated": terminated(latest)}
        has_init = any(each.role in {"init", "sidecar"} for each in self.all)
        reason = "PodInitializing" if has_init else "ContainerCreating"
        return {"waiting": {"reason": reason}}

    def is_ready(self, container: Container) -> bool:
        latest = self.records.latest(container.name)
        if container.role == "init":
            return latest is not None and not latest.running and latest.code == 0
        if container.role == "ephemeral" or latest is None or not latest.running:
            return False
        return container.name not in self.seen.unready | self.seen.unstarted

    def _is_started(self, container: Container) -> bool:
        latest = self.records.latest(container.name)
        return latest is not None and latest.running and container.name not in self.seen.unstarted

    # Conditions.

    def conditions(self, phase: str) -> list[Object]:
        ready, why = self._containers_ready(phase)
        gates_ready, gates_why = self._gates()
        pod_ready = (ready, why) if not ready else (gates_ready, gates_why)
        wanted: list[tuple[str, bool, tuple[str, str]]] = [
            ("PodReadyToStartContainers", self._has_sandbox(), ("", "")),
            ("Initialized", *self._initialized(phase)),
            ("Ready", *pod_ready),
            ("ContainersReady", ready, why),
            ("PodScheduled", True, ("", "")),
        ]
        old = list(self.before.get("conditions") or ())
        mine = {name for name, _, _ in wanted}
        made = [self._condition(old, name, true, words) for name, true, words in wanted]
        return [*made, *(each for each in old if each.get("type") not in mine)]

    def _has_sandbox(self) -> bool:
        return self.records.sandbox is not None and self.records.sandbox.ready and not self.seen.finished

    def _condition(self, old: list[Object], name: str, true: bool, words: tuple[str, str]) -> Object:  # noqa: FBT001 - a condition's value
        value = "True" if true else "False"
        before = find(old, name)
        same = before is not None and before.get("status") == value
        moment = before.get("lastTransitionTime", self.now) if same and before is not None else self.now
        made: Object = {"type": name, "status": value, "lastProbeTime": None, "lastTransitionTime": moment}
        made["observedGeneration"] = metadata(self.pod).get("generation") or 1
        if not true and words[0]:
            made["reason"] = words[0]
            if words[1]:
                made["message"] = words[1]
        return made

    def _containers_ready(self, phase: str) -> tuple[bool, tuple[str, str]]:
        if phase == "Succeeded":
            return False, ("PodCompleted", "")
        if phase == "Failed":
            return False, ("PodFailed", "")
        judged = [each for each in self.all if each.role in {"regular", "sidecar"}]
        unready = [each.name for each in judged if not self.is_ready(each)]
        if not unready:
            return True, ("", "")
        return False, ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")

    def _gates(self) -> tuple[bool, tuple[str, str]]:
        missing = []
        for gate in self.pod["spec"].get("readinessGates") or ():
            name = gate["conditionType"]
            found = find(self.before.get("conditions"), name)
            if found is None:
                missing.append(f'corresponding condition of pod readiness gate "{name}" does not exist.')
            elif found.get("status") != "True":
                missing.append(f'the status of pod readiness gate "{name}" is not "True", but {found.get("status")}')
        return not missing, ("ReadinessGatesNotReady", ", ".join(missing))

    def _initialized(self, phase: str) -> tuple[bool, tuple[str, str]]:
        if phase == "Succeeded":
            return True, ("", "")
        inits = [each for each in self.all if each.role in {"init", "sidecar"}]
        if any(self.records.latest(each.name) is not None for each in self.all if each.role == "regular"):
            return True, ("", "")
        incomplete = [
            each.name for each in inits if not (self.is_ready(each) if each.role == "init" else self._is_started(each))
        ]
        if not incomplete:
            return True, ("", "")
        return False, (
            "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]"
        )  # fmt: skip


def terminated(instance: Instance) -> Object:
    """`state.terminated` of a run that has ended."""
    reason = instance.reason or ("Completed" if not instance.code else "Error")
    made: Object = {
        "exitCode": instance.code,
        "reason": reason,
        "startedAt": EPOCH if reason == "StartError" else second(instance.started),
        "finishedAt": second(instance.finished),
        "containerID": f"{RUNTIME}://{instance.id}",
    }
    if instance.message:
        made["message"] = instance.message
    return made


def _waiting(waiting: Waiting) -> Object:
    return {"reason": waiting.reason} | ({"message": waiting.message} if waiting.message else {})
