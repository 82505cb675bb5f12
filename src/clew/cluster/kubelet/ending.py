"""The end of a pod on its node: containers, sandbox, volumes, logs and records, then the API's object.

Called by the pod's worker once the pod is told to end; it returns when no trace is left here.
"""

import logging
from typing import TYPE_CHECKING

from clew.api.kinds import POD
from clew.base.errors import WorldError
from clew.cluster.kubelet.backoff import Backoff
from clew.cluster.kubelet.instances import pod_labels
from clew.cluster.kubelet.starting import log_folder
from clew.cluster.kubelet.volumes import PODS
from clew.cluster.runtime.errors import NodeLostError
from clew.watch.errors import ApiError

if TYPE_CHECKING:
    from clew.cluster.kubelet.pod import PodWorker

logger = logging.getLogger(__name__)


async def end_pod(worker: "PodWorker") -> None:
    """Every container, the sandbox, volumes and logs; then the API's object, if it is still there."""
    await worker.work.end()
    worker.finished = True  # whoever holds the object with a finalizer sees a last phase (KEP-3329)
    await worker.report()
    pause = Backoff(0.5, 10.0)
    while True:
        try:
            await _clean(worker)
            break
        except NodeLostError:
            raise
        except WorldError as problem:
            worker.around.tell(worker.pod, "Warning", "FailedKillPod", f"error killing pod: {problem}")
            pause.started(worker.around.clock.monotonic())
            await worker.around.clock.sleep(pause.pause)
    await _delete(worker)


async def _clean(worker: "PodWorker") -> None:
    handle = worker.around.handle
    await worker.remove_sandboxes()
    for instance in worker.records.instances:
        await handle.ask("remove", container=instance.id)
        worker.records = worker.records.without(instance.id)
    await handle.ask("remove_tree", path=f"{PODS}/{worker.uid}")
    await handle.ask("remove_tree", path=log_folder(pod_labels(worker.pod)))
    await handle.ask("remove_group", group=worker.sandboxes.group(worker.uid))
    worker.around.tokens.forget(worker.uid)
    worker.around.puller.forget(worker.uid)


async def _delete(worker: "PodWorker") -> None:
    meta = worker.pod["metadata"]
    while not worker.gone:
        try:
            await worker.around.client.delete(POD, meta["name"], meta["namespace"], uid=meta["uid"], grace_period=0)
            return
        except ApiError as error:
            if error.not_found or error.conflict:
                return
            logger.warning("pod %s/%s not deleted yet: %s", meta["namespace"], meta["name"], error)
        await worker.around.clock.sleep(1.0)
