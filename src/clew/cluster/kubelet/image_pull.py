"""Getting a container's image and telling the pod how it went, with the waits between failed attempts.

The Events, their words and the waiting reasons are the kubelet's. An image that the lab makes itself (a stand-in) is
said to be one, once a pod.
"""

from collections.abc import Awaitable, Callable

from clew.api.objects import Object
from clew.base.clock import Clock
from clew.base.errors import WorldError
from clew.cluster.images import Image, ImageError, ImageService
from clew.cluster.images.reference import parse_reference
from clew.cluster.kubelet.backoff import Backoff

Tell = Callable[[Object, str, str, str], None]  # pod, type, reason, message: an Event


class PullError(WorldError):
    """The container waits for its image: `reason` and the text are its waiting state; `due` says when to try again."""

    def __init__(self, reason: str, message: str, due: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.due = due


class Puller:
    """All images of one node."""

    def __init__(self, images: ImageService, tell: Tell, clock: Clock) -> None:
        self._images = images
        self._tell = tell
        self._clock = clock
        self._present: set[str] = set()
        self._failed: dict[tuple[str, str], tuple[Backoff, float, ImageError]] = {}  # pod uid, reference
        self._said: set[tuple[str, str]] = set()

    async def get(self, pod: Object, container: Object) -> Image:
        """The image; PullError where there is none for now."""
        reference = container.get("image") or ""
        policy = container.get("imagePullPolicy") or "IfNotPresent"
        key = (pod["metadata"]["uid"], reference)
        self._wait(pod, key)
        try:
            image = await self._ensure(pod, reference, policy)
        except ImageError as problem:
            raise self._refused(pod, key, problem) from problem
        self._failed.pop(key, None)
        if image.stand_in and key not in self._said:
            self._said.add(key)
            self._tell(pod, "Normal", "StandIn", image.stand_in)
        return image

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._failed if key[0] == uid]:
            del self._failed[key]
        self._said = {key for key in self._said if key[0] != uid}

    async def _ensure(self, pod: Object, reference: str, policy: str) -> Image:
        if reference in self._present and policy != "Always":
            image = await self._images.ensure(reference, policy)
            self._tell(pod, "Normal", "Pulled", f'Container image "{reference}" already present on machine')
            return image
        return await self._pull(pod, reference, lambda: self._images.ensure(reference, policy), quiet=policy == "Never")

    async def _pull(self, pod: Object, reference: str, get: Callable[[], Awaitable[Image]], *, quiet: bool) -> Image:
        parse_reference(reference)  # what names nothing is not asked for
        if not quiet:
            self._tell(pod, "Normal", "Pulling", f'Pulling image "{reference}"')
        started = self._clock.monotonic()
        image = await get()
        took = f"{(self._clock.monotonic() - started) * 1000:.0f}ms"
        self._present.add(reference)
        said = (
            f'Successfully pulled image "{reference}" in {took} ({took} including waiting). '
            f"Image size: {image.size} bytes."
        )
        if quiet:
            said = f'Container image "{reference}" already present on machine'
        self._tell(pod, "Normal", "Pulled", said)
        return image

    def _wait(self, pod: Object, key: tuple[str, str]) -> None:
        """Refuse while the pause after the last failure lasts."""
        failed = self._failed.get(key)
        if failed is None:
            return
        backoff, at, problem = failed
        due = at + backoff.pause
        if self._clock.monotonic() >= due:
            return
        if problem.reason != "ErrImagePull":
            raise PullError(problem.reason, problem.message, due)
        self._tell(pod, "Normal", "BackOff", f'Back-off pulling image "{key[1]}"')
        self._tell(pod, "Warning", "Failed", "Error: ImagePullBackOff")
        raise PullError("ImagePullBackOff", f'Back-off pulling image "{key[1]}": ErrImagePull: {problem.message}', due)

    def _refused(self, pod: Object, key: tuple[str, str], problem: ImageError) -> PullError:
        now = self._clock.monotonic()
        backoff = self._failed[key][0] if key in self._failed else Backoff()
        backoff.started(now)
        self._failed[key] = (backoff, now, problem)
        if problem.reason == "InvalidImageName":
            self._tell(pod, "Warning", "InspectFailed", problem.message)
        elif problem.reason == "ErrImageNeverPull":
            self._tell(pod, "Warning", "ErrImageNeverPull", problem.message)
        else:
            self._tell(pod, "Warning", "Failed", f'Failed to pull image "{key[1]}": {problem.message}')
        self._tell(pod, "Warning", "Failed", f"Error: {problem.reason}")
        soon = now + 1.0 if problem.reason == "ErrImagePull" else now + backoff.pause
        return PullError(problem.reason, problem.message, soon)
