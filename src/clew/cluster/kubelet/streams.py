"""What the API server asks of nodes for exec, attach, logs and port-forward, answered by the kubelets of one lab."""

import os
from collections.abc import AsyncIterator, Mapping

from clew.cluster.kubelet.instances import Instance
from clew.cluster.kubelet.kubelet import Kubelet
from clew.cluster.kubelet.logs import LogReader
from clew.cluster.kubelet.pod import PodWorker
from clew.cluster.kubelet.sessions import AttachSession, ExecSession, TcpStream
from clew.cluster.runtime.errors import NodeError
from clew.cluster.streams import Duplex, ExecRequest, LogRequest, PodRef, Session, StreamError

_CONNECT_SECONDS = 10.0


class KubeletStreams:
    """By node name."""

    def __init__(self, kubelets: Mapping[str, Kubelet]) -> None:
        self._kubelets = kubelets

    async def run(self, pod: PodRef, request: ExecRequest) -> Session:
        kubelet, worker = self._worker(pod)
        instance = self._running(worker, pod)
        wanted = {
            "argv": list(request.command), "stdin": request.stdin, "stdout": request.stdout,
            "stderr": request.stderr and not request.tty, "tty": request.tty,
        }  # fmt: skip
        try:
            channel, answer = await kubelet.handle.open("exec", container=instance.id, exec=wanted)
        except NodeError as problem:
            raise StreamError(
                500, f"error executing command in container: failed to exec in container: {problem}"
            ) from problem
        return ExecSession(channel, answer["streams"], tty=request.tty)

    async def attach(self, pod: PodRef, request: ExecRequest) -> Session:
        del request  # the container's streams are what they are
        kubelet, worker = self._worker(pod)
        instance = self._running(worker, pod)
        try:
            channel, _ = await kubelet.handle.open("attach", container=instance.id)
        except NodeError as problem:
            raise StreamError(500, f"error attaching to container: {problem}") from problem
        return AttachSession(channel)

    async def logs(self, pod: PodRef, request: LogRequest) -> AsyncIterator[bytes]:
        """Refused before the first byte where the container has no log."""
        kubelet, worker = self._worker(pod)
        instance = self._logged(worker, pod, previous=request.previous)

        def alive() -> bool:
            return any(each.id == instance.id and each.running for each in worker.records.instances)

        path = kubelet.around.on_host(instance.log)
        return LogReader(path, request, kubelet.around.clock, alive).read()

    async def connect(self, pod: PodRef, port: int) -> Duplex:
        kubelet, worker = self._worker(pod)
        sandbox = worker.records.sandbox
        if sandbox is None or not sandbox.ready:
            raise StreamError(500, f"pod {pod.pod}_{pod.namespace} is not running")
        try:
            return await _connected(kubelet, sandbox.netns, ["127.0.0.1", "::1"], port)
        except NodeError as problem:
            raise StreamError(
                500, f"failed to connect to localhost:{port} inside namespace of pod {pod.pod}: {problem}"
            ) from problem

    async def reach(self, address: str, port: int) -> Duplex:
        kubelet = next(iter(self._kubelets.values()), None)
        if kubelet is None:
            raise StreamError(500, "no node of this lab runs")
        try:
            return await _connected(kubelet, "", [address], port)
        except NodeError as problem:
            raise StreamError(500, f"dial tcp {address}, port {port}: {problem}") from problem

    def _worker(self, pod: PodRef) -> tuple[Kubelet, PodWorker]:
        kubelet = self._kubelets.get(pod.node)
        if kubelet is None:
            raise StreamError(500, f"node {pod.node} is not in this lab or is off")
        worker = kubelet.worker(pod.uid)
        if worker is None:
            raise StreamError(404, f"pod {pod.pod}_{pod.namespace} is not on node {pod.node}")
        return kubelet, worker

    def _running(self, worker: PodWorker, pod: PodRef) -> Instance:
        if not pod.container or worker.container(pod.container) is None:
            raise StreamError(404, f'container not found ("{pod.container}")')
        instance = worker.records.latest(pod.container)
        if instance is None or not instance.running:
            raise StreamError(500, f'container not found ("{pod.container}")' if instance is None else
                              "container is in CONTAINER_EXITED state")  # fmt: skip
        return instance

    def _logged(self, worker: PodWorker, pod: PodRef, *, previous: bool) -> Instance:
        if worker.container(pod.container) is None:
            raise StreamError(400, f"container {pod.container} is not valid for pod {pod.pod}")
        if previous:
            latest = worker.records.latest(pod.container)
            before = worker.records.previous(pod.container)
            if latest is not None and not latest.running and pod.container in worker.waiting:
                before = latest  # it is to run again: the last run is the previous one
            if before is None or not before.log:
                raise StreamError(400, f'previous terminated container "{pod.container}" in pod "{pod.pod}" not found')
            return before
        instance = worker.records.latest(pod.container)
        if instance is None or not instance.log:
            waiting = worker.waiting.get(pod.container)
            reason = waiting.reason if waiting is not None else "ContainerCreating"
            trouble = reason not in {"ContainerCreating", "PodInitializing"}
            words = "trying and failing to pull image" if trouble and "Image" in reason else reason
            raise StreamError(400, f'container "{pod.container}" in pod "{pod.pod}" is waiting to start: {words}')
        return instance


async def _connected(kubelet: Kubelet, netns: str, addresses: list[str], port: int) -> Duplex:
    """To the first of them that answers, from a network of the node ("": its own); NodeError where none does."""
    channel, _ = await kubelet.handle.open(
        "connect", netns=netns, addresses=addresses, port=port, timeout=_CONNECT_SECONDS
    )
    try:
        return await TcpStream.over(os.dup(channel.fds[0]))
    finally:
        channel.close()
