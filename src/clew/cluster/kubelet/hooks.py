"""Lifecycle hooks: postStart and preStop, by command, by HTTP or as a pause."""

from collections.abc import Awaitable, Callable

from clew.api.objects import Object
from clew.base.errors import WorldError
from clew.cluster.kubelet.requests import RequestError, http_get, port_of, tcp_open
from clew.cluster.kubelet.surroundings import Surroundings

_HTTP_SECONDS = 30.0
Execute = Callable[[list[str], float], Awaitable[tuple[int, str]]]


class HookError(WorldError):
    """The hook failed; the text is for the Event."""


async def run_hook(
    around: Surroundings, container: Object, action: Object, address: str, execute: Execute, seconds: float = 0
) -> None:
    """`seconds` limits it, 0 does not. HookError when it fails."""
    try:
        if action.get("exec"):
            argv = list(action["exec"].get("command") or ())
            code, output = await execute(argv, seconds)
            if code:
                raise HookError(f"command '{' '.join(argv)}' exited with {code}: {output}")
        elif action.get("httpGet"):
            status, _ = await http_get(around.handle, container, action["httpGet"], address, seconds or _HTTP_SECONDS)
            if not 200 <= status < 400:
                raise HookError(f"HTTP status {status}")
        elif action.get("tcpSocket"):
            target = action["tcpSocket"]
            host, port = target.get("host") or address, port_of(container, target["port"])
            await tcp_open(around.handle, host, port, seconds or _HTTP_SECONDS)
        elif action.get("sleep"):
            pause = float(action["sleep"].get("seconds") or 0)
            await around.clock.sleep(min(pause, seconds) if seconds else pause)
    except RequestError as problem:
        raise HookError(str(problem)) from problem
