"""What a pod's worker writes to the API: the pod's status, where it changed.

Not what the status says, which `status` computes, nor when it is due, which the worker knows.
"""

import logging
from typing import TYPE_CHECKING

from clew.api.kinds import POD
from clew.api.objects import Object, dig
from clew.api.patch import strategic_merge_patch
from clew.base.clock import rfc3339
from clew.cluster.kubelet.status import Observed, pod_status
from clew.watch.client import STRATEGIC
from clew.watch.errors import ApiError

if TYPE_CHECKING:
    from clew.cluster.kubelet.pod import PodWorker

logger = logging.getLogger(__name__)


class Reporter:
    """Of one pod. What the API answers to a write counts at once; the watch brings it later."""

    def __init__(self, worker: "PodWorker") -> None:
        self._worker = worker
        self._answer: Object = {}
        self._last: tuple[Object, Object] = ({}, {})

    async def report(self) -> None:
        """Write the status where the API shows another; what it refuses for now is tried again in a second."""
        worker = self._worker
        if worker.gone:
            return
        before = self._shown()
        status = self._status(before)
        patch = {"status": status_patch(before, status)}
        if (before, status) == self._last or strategic_merge_patch(POD, {"status": before}, patch)["status"] == before:
            return
        meta = worker.pod["metadata"]
        body = {"metadata": {"uid": meta["uid"]}, **patch}
        try:
            self._answer = await worker.around.client.patch(
                POD, meta["name"], body, meta["namespace"], subresource="status", content_type=STRATEGIC
            )
        except ApiError as error:
            if not (error.not_found or error.conflict):
                logger.warning("status of pod %s/%s not written: %s", meta["namespace"], meta["name"], error)
                worker.pause(1.0)
            return
        self._last = (self._shown(), status)  # should the API have kept it otherwise, writing it again is no use

    def _status(self, before: Object) -> Object:
        worker = self._worker
        seen = Observed(
            addresses=worker.addresses,
            host_addresses=worker.around.config.addresses,
            waiting=worker.waiting,
            unready=worker.work.unready(),
            unstarted=worker.work.unstarted(),
            finished=worker.finished,
            failure=worker.failure,
        )
        pod = {**worker.pod, "status": before}
        return pod_status(pod, worker.records, seen, rfc3339(worker.around.clock.now()))

    def _shown(self) -> Object:
        """The status in the API, as far as we have heard: of the newer of the watch's object and our write's."""
        newer = max((self._worker.pod, self._answer), key=_version)
        return newer.get("status") or {}


def _version(pod: Object) -> int:
    """Versions are numbers that grow (KEP-5504)."""
    return int(dig(pod, "metadata", "resourceVersion") or 0)


def status_patch(before: Object, status: Object) -> Object:
    """A strategic merge patch: lists that merge by key are replaced where they change, fields that went are null."""
    made = dict(status)
    for field in ("podIPs", "hostIPs"):
        if before.get(field) and before[field] != status.get(field):
            made[field] = [{"$patch": "replace"}, *(status.get(field) or [])]
    for field in ("podIP", "podIPs", "reason", "message"):
        if before.get(field) and field not in status:
            made[field] = None
    told = {each["type"]: each for each in before.get("conditions") or ()}
    made["conditions"] = [
        {**dict.fromkeys(told.get(each["type"], {}).keys() & {"reason", "message"}), **each}
        for each in status["conditions"]
    ]
    return made
