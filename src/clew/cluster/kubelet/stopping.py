"""Ending containers the way Kubernetes promises: preStop, the stop signal, time to obey, and then SIGKILL."""

import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from clew.api.objects import Object, dig
from clew.base.errors import WorldError
from clew.cluster.kubelet.hooks import Execute, HookError, run_hook
from clew.cluster.kubelet.instances import Instance
from clew.cluster.kubelet.surroundings import Surroundings
from clew.cluster.runtime.errors import NodeError, NodeLostError

_LEAST_AFTER_HOOK = 2.0  # seconds a container gets to obey its signal, however long preStop took
_LOOK = 1.0  # how often a grace period that may have been cut short is looked at again


class Stop:
    """One container's end. `left()` is the seconds still granted; it may shrink while we wait."""

    def __init__(
        self, around: Surroundings, pod: Object, container: Object, instance: Instance, left: Callable[[], float]
    ) -> None:
        self._around = around
        self._pod = pod
        self._container = container
        self._instance = instance
        self._left = left

    async def run(self, ended: Callable[[float], Awaitable[bool]], execute: Execute, address: str) -> None:
        """Returns when it is over. `ended(seconds)` awaits the exit that long and tells whether it came."""
        hook = dig(self._container, "lifecycle", "preStop")
        hooked = False
        if hook and self._left() > 0:
            hooked = True
            await self._pre_stop(hook, execute, address)
        await self._signal(_number(self._instance.stop_signal) if self._left() > 0 or hooked else signal.SIGKILL)
        begun = self._around.clock.monotonic()
        least = _LEAST_AFTER_HOOK if hooked else 0.0
        while True:
            since = self._around.clock.monotonic() - begun
            patience = max(self._left(), least - since)
            if patience <= 0:
                break
            if await ended(min(patience, _LOOK)):
                return
        await self._signal(signal.SIGKILL)
        while not await ended(_LOOK):
            await self._signal(signal.SIGKILL)

    async def _pre_stop(self, hook: Object, execute: Execute, address: str) -> None:
        try:
            await run_hook(self._around, self._container, hook, address, execute, self._left())
        except HookError as problem:
            name = self._container["name"]
            self._around.tell(self._pod, "Warning", "FailedPreStopHook", f"PreStopHook failed for {name}: {problem}")
        except NodeLostError:
            raise
        except WorldError as problem:
            self._around.tell(self._pod, "Warning", "FailedPreStopHook", f"PreStopHook failed: {problem}")

    async def _signal(self, number: int) -> None:
        with suppress(NodeError):
            await self._around.handle.ask("kill", container=self._instance.id, signal=int(number))


def _number(name: str) -> int:
    """A signal by name or number; SIGTERM for none or an unknown one."""
    if name.isdigit():
        return int(name)
    return int(getattr(signal, name or "SIGTERM", signal.SIGTERM))
