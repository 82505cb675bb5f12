"""Which container of which pod a request for log, exec, attach or port-forward is about."""

from aiohttp import web

from clew.api.kinds import POD
from clew.api.objects import Object
from clew.cluster.apiserver.errors import ApiRefusal, bad_request
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.subresources import streams
from clew.cluster.streams import ExecRequest, NodeStreams, PodRef, StreamError

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def _containers(pod: Object) -> list[str]:
    spec = pod["spec"]
    listed = [*(spec.get("initContainers") or []), *spec["containers"], *(spec.get("ephemeralContainers") or [])]
    return [container["name"] for container in listed]


def _container(pod: Object, asked: str) -> str:
    name = pod["metadata"]["name"]
    names = _containers(pod)
    if asked:
        if asked not in names:
            raise bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    regular = [container["name"] for container in pod["spec"]["containers"]]
    default = (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER)
    if default in regular:
        return str(default)
    if len(regular) > 1:
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{' '.join(regular)}]")
    return str(regular[0])


def _reference(pod: Object, container: str = "") -> PodRef:
    meta, node = pod["metadata"], pod["spec"].get("nodeName", "")
    if not node:
        raise bad_request(f"pod {meta['name']} does not have a host assigned")
    return PodRef(node, meta["namespace"], meta["name"], meta["uid"], container)


async def serve_stream(
    request: web.Request, state: State, nodes: NodeStreams, namespace: str, name: str, subresource: str
) -> web.StreamResponse:
    """Answer log, exec, attach or portforward of a pod."""
    pod = state.get(POD, namespace, name)
    try:
        if subresource == "portforward":
            return await streams.port_forward(request, nodes, _reference(pod))
        container = _container(pod, request.query.get("container", ""))
        if subresource == "log":
            return await streams.send_log(request, nodes, _reference(pod, container))
        return await _session(request, nodes, _reference(pod, container), subresource)
    except StreamError as error:
        raise ApiRefusal(
            error.status, "BadRequest" if error.status == 400 else "InternalError", error.message
        ) from None


async def _session(request: web.Request, nodes: NodeStreams, pod: PodRef, subresource: str) -> web.StreamResponse:
    query = request.query
    if "websocket" not in request.headers.get("Upgrade", "").lower():
        raise bad_request("Upgrade request required: this server speaks WebSocket (v5.channel.k8s.io)")

    def flag(name: str) -> bool:
        return query.get(name) in {"true", "1"}

    wanted = ExecRequest(tuple(query.getall("command", [])), flag("stdin"), flag("stdout"), flag("stderr"), flag("tty"))
    if subresource == "exec":
        if not wanted.command:
            raise bad_request("you must specify at least 1 container command")
        session = await nodes.run(pod, wanted)
    else:
        session = await nodes.attach(pod, wanted)
    return await streams.run_session(request, session, wanted)
