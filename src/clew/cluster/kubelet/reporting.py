"""What a pod's worker writes to the API: the pod's status, where it changed.

Not what the status says, which `status` computes, nor when it is due, which the worker knows.
"""

import logging
from typing import TYPE_CHECKING

from clew.api.kinds import POD
from clew.api.objects import Object
from clew.base.clock import rfc3339
from clew.cluster.kubelet.status import Observed, pod_status
from clew.watch.client import STRATEGIC
from clew.watch.errors import ApiError

if TYPE_CHECKING:
    from clew.cluster.kubelet.pod import PodWorker

logger = logging.getLogger(__name__)


class Reporter:
    """Of one pod; it remembers what it wrote last, since the API's own answer comes later by the watch."""

    def __init__(self, worker: "PodWorker") -> None:
        self._worker = worker
        self._written: Object | None = None

    async def report(self) -> None:
        """Write the status where it changed; what the API refuses for now is tried again in a second."""
        worker = self._worker
        if worker.gone:
            return
        status = self._status()
        if status == self._written:
            return
        meta = worker.pod["metadata"]
        body = {"metadata": {"uid": meta["uid"]}, "status": status_patch(self._merged(), status)}
        try:
            await worker.around.client.patch(
                POD, meta["name"], body, meta["namespace"], subresource="status", content_type=STRATEGIC
            )
        except ApiError as error:
            if not (error.not_found or error.conflict):
                logger.warning("status of pod %s/%s not written: %s", meta["namespace"], meta["name"], error)
                worker.pause(1.0)
            return
        self._written = status

    def _status(self) -> Object:
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
        base = worker.pod if self._written is None else {**worker.pod, "status": self._merged()}
        return pod_status(base, worker.records, seen, rfc3339(worker.around.clock.now()))

    def _merged(self) -> Object:
        """What the API has, or has not told us yet that it has."""
        return {**(self._worker.pod.get("status") or {}), **(self._written or {})}


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
