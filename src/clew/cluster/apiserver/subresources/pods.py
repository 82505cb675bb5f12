"""Which container of which pod a request for log, exec, attach or port-forward is about."""

from aiohttp import web

from clew.api.kinds import POD
from clew.api.objects import Object
from clew.cluster.apiserver.errors import ApiRefusal, bad_request
from clew.cluster.apiserver.list_options import flag
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.subresources import logs, portforward, sessions
from clew.cluster.streams import ExecRequest, NodeStreams, PodRef, StreamError

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_REASONS = {400: "BadRequest", 404: "NotFound", 409: "Conflict", 500: "InternalError", 503: "ServiceUnavailable"}


class PodStreams:
    """Joins a client's connection to the node that runs the pod."""

    def __init__(self, state: State, nodes: NodeStreams) -> None:
        self.state = state
        self.nodes = nodes
        self._open: set[web.WebSocketResponse] = set()

    async def serve(self, request: web.BaseRequest, namespace: str, name: str, part: str) -> web.StreamResponse:
        pod = self.state.get(POD, namespace, name)
        try:
            if part == "log":
                container = _container(pod, request.query.get("container", ""))
                return await logs.send(request, self.nodes, _reference(pod, container), logs.wanted(request))
            exchange: sessions.Exchange | portforward.Forwarding
            if part == "portforward":
                exchange = portforward.Forwarding(self.nodes, _reference(pod))
            else:
                container = _container(pod, request.query.get("container", ""))
                exchange = self._session(request, _reference(pod, container), part)
            # Last: kubectl tries SPDY after a refusal, and it shows what it is told then.
            _check_upgrade(request)
            return await self._kept(request, exchange)
        except StreamError as error:
            raise ApiRefusal(error.status, _REASONS.get(error.status, "InternalError"), error.message) from None

    def _session(self, request: web.BaseRequest, pod: PodRef, part: str) -> sessions.Exchange:
        query = request.query
        command = tuple(query.getall("command", [])) if part == "exec" else ()
        wanted = ExecRequest(
            command, flag(query, "stdin"), flag(query, "stdout"), flag(query, "stderr"), flag(query, "tty")
        )
        if part == "exec" and not command:
            raise bad_request("you must specify at least 1 container command")
        if not (wanted.stdin or wanted.stdout or wanted.stderr):
            raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
        if wanted.tty and wanted.stderr:
            raise bad_request("tty and stderr cannot both be true")
        start = self.nodes.run if part == "exec" else self.nodes.attach
        return sessions.Exchange(wanted, lambda: start(pod, wanted))

    async def _kept(
        self, request: web.BaseRequest, exchange: sessions.Exchange | portforward.Forwarding
    ) -> web.WebSocketResponse:
        """Upgrade, run, and know the socket meanwhile, so that stopping can end it."""
        socket = web.WebSocketResponse(protocols=exchange.protocols, max_msg_size=0, timeout=3)
        await socket.prepare(request)
        self._open.add(socket)
        try:
            await exchange.run(socket)
            if not socket.closed:
                await socket.close()
        finally:
            self._open.discard(socket)
        return socket

    async def close(self) -> None:
        """End every open stream: the server is going away."""
        for socket in list(self._open):
            await socket.close(code=1001, message=b"the API server is stopping")


def _check_upgrade(request: web.BaseRequest) -> None:
    if "websocket" not in request.headers.get("Upgrade", "").lower():
        raise bad_request(
            "Upgrade request required: this server speaks WebSocket, not SPDY"
            " (unset KUBECTL_REMOTE_COMMAND_WEBSOCKETS and KUBECTL_PORT_FORWARD_WEBSOCKETS, or use kubectl >= 1.31)"
        )


def _container(pod: Object, asked: str) -> str:
    name, spec = pod["metadata"]["name"], pod["spec"]
    listed = [*(spec.get("initContainers") or []), *spec["containers"], *(spec.get("ephemeralContainers") or [])]
    names = [str(container["name"]) for container in listed]
    if asked:
        if asked not in names:
            raise bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    regular = [str(container["name"]) for container in spec["containers"]]
    default = (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER)
    if default in regular:
        return str(default)
    if len(names) > 1:
        listed_names = " ".join(regular)
        text = f"a container name must be specified for pod {name}, choose one of: [{listed_names}]"
        first = [str(container["name"]) for container in spec.get("initContainers") or ()]
        if first:
            text += f" or one of the init containers: [{' '.join(first)}]"
        raise bad_request(text)
    return regular[0]


def _reference(pod: Object, container: str = "") -> PodRef:
    meta, node = pod["metadata"], pod["spec"].get("nodeName", "")
    if not node:
        raise bad_request(f"pod {meta['name']} does not have a host assigned")
    return PodRef(node, meta["namespace"], meta["name"], meta["uid"], container)
