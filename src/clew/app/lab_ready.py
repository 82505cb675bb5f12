"""When is a lab ready? Nodes say so, their agents began with what its shape says, and DNS answers on every node.

Nodes have to say so since the daemon began: what the API remembers of a time before a crash does not count. DNS is
asked a real question by a real packet: it goes through the node's service proxy, the pod network and a DNS pod.
"""

import asyncio
import shutil
import socket
import struct
import time
from collections.abc import Callable
from datetime import datetime

from clew.api.kinds import DEPLOYMENT, NODE
from clew.api.objects import Object
from clew.app.lab_agents import FORMER, REPLACED, unready_agents
from clew.app.lab_hosts import switched_off
from clew.app.lab_manifests import read_record, shape_of
from clew.app.lab_record import lab_client
from clew.app.lab_spec import LabSpec
from clew.app.lab_state import PID
from clew.app.manifest_objects import dns_address
from clew.base.errors import UserError, WorldError
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.entering import socket_in_host
from clew.servers.dns.wire import name_to_wire
from clew.watch.client import Client
from clew.watch.errors import ApiError

_LOOK, _ANSWER = 0.1, 1.0  # seconds
_LEAST = 512 << 10  # bytes free
_KEPT = 10.0  # seconds that a socket without an answer is asked with: its node may have begun anew meanwhile
_ASKED = name_to_wire("kubernetes.default.svc.cluster.local.")
_A, _AAAA, _IN, _RECURSE = 1, 28, 1, 0x0100
Say = Callable[[str], None]


async def wait_until_ready(paths: LabPaths, spec: LabSpec, say: Say, deadline: float) -> None:
    """Tells of each thing that becomes ready; UserError says what has not by `deadline` (time.monotonic) and why."""
    client = lab_client(paths)
    began = int((paths.run / PID).stat().st_mtime)
    nodes = [name for name in spec.node_names if name not in switched_off(paths)]
    told: set[str] = set()
    questions = Questions(paths, spec)
    agents = _Agents(spec, nodes, say)
    try:
        while True:
            looked = time.process_time()
            waiting = await _unready_nodes(client, nodes, began)
            beginning = await agents.waiting(client)
            for name in nodes:
                if name not in told and name not in waiting:
                    told.add(name)
                    say(f"node {name} is ready")
            waiting |= beginning  # the agent's own words say more than that its node has no network
            if not waiting:
                silent = await questions.silent(nodes)
                if not silent:
                    say("DNS answers on every node")
                    return
                waiting = {"DNS": await _why_no_dns(client, silent)}
            _check_disk(paths)
            if time.monotonic() > deadline:
                said = "; ".join(f"{name}: {reason}" for name, reason in waiting.items())
                raise UserError(f"not ready in time: {said}", f"see {paths.log}; a slow machine needs a longer --wait")
            await asyncio.sleep(max(_LOOK, 3 * (time.process_time() - looked)))  # who is busy is not kept so by looks
    finally:
        questions.close()
        await client.close()


def _check_disk(paths: LabPaths) -> None:
    """What cannot be written down does not get ready: no use in waiting for it."""
    for path in (paths.state, paths.log):
        if shutil.disk_usage(path).free < _LEAST:
            raise UserError(f"No space left on device: less than {_LEAST >> 10} KiB for {path}", "free some there")


async def _unready_nodes(client: Client, nodes: list[str], began: int) -> dict[str, str]:
    """Nodes that have not said since `began` (Unix seconds) that they are ready, and what they say instead."""
    try:
        found = {node["metadata"]["name"]: node for node in (await client.list(NODE)).items}
    except ApiError as error:
        return dict.fromkeys(nodes, str(error))
    waiting = {}
    for name in nodes:
        condition = ready_condition(found.get(name) or {})
        at = datetime.fromisoformat(condition.get("lastHeartbeatTime") or "1970-01-01T00:00:00Z").timestamp()
        if at < began:
            waiting[name] = "it has not reported yet"
        elif condition["status"] != "True":
            waiting[name] = condition.get("message", "")
    return waiting


def ready_condition(node: Object) -> Object:
    """The condition Ready of a Node, or nothing."""
    for each in (node.get("status") or {}).get("conditions") or ():
        if each["type"] == "Ready":
            found: Object = each
            return found
    return {}


class _Agents:
    """Whether each node's agent began with what the lab's shape says; tells of those that begin anew."""

    def __init__(self, spec: LabSpec, nodes: list[str], say: Say) -> None:
        self._shape, self._nodes, self._of, self._say = shape_of(spec), nodes, len(spec.nodes), say
        self._changing: set[str] = set()

    async def waiting(self, client: Client) -> dict[str, str]:
        """What is amiss, by node."""
        try:
            if (await read_record(client)).shape != self._shape:
                return {"manifests": "the lab's daemon has not applied them yet"}
            found = await unready_agents(client, self._nodes, self._of)
        except ApiError as error:
            return {"agents": str(error)}
        for name in sorted(self._changing - set(found)):
            self._say(f"node {name} has changed over")
        self._changing = {name for name in found if name in self._changing or found[name] in {FORMER, REPLACED}}
        return found


class Questions:
    """Asks cluster DNS on every node, by sockets that are kept for the next time."""

    def __init__(self, paths: LabPaths, spec: LabSpec) -> None:
        self._paths = paths
        self._servers = [dns_address(cidr) for cidr in spec.service_cidrs]
        self._kind = _AAAA if ":" in self._servers[0] else _A  # the name has an address of the primary family only
        self._sockets: dict[tuple[str, str], tuple[socket.socket, float]] = {}  # with when it is given up

    async def silent(self, nodes: list[str]) -> list[str]:
        """The nodes on which cluster DNS does not answer."""
        questions = [(name, server) for name in nodes for server in self._servers]
        answers = await asyncio.gather(*(self._answers(name, server) for name, server in questions))
        return sorted({name for (name, _), answered in zip(questions, answers, strict=True) if not answered})

    def close(self) -> None:
        for each, _ in self._sockets.values():
            each.close()
        self._sockets.clear()

    async def _answers(self, node: str, server: str) -> bool:
        """Whether the DNS server knows the API server's name, asked as a program of the node would ask."""
        try:
            if (node, server) not in self._sockets:
                family = socket.AF_INET6 if ":" in server else socket.AF_INET
                made = await asyncio.to_thread(socket_in_host, self._paths, node, family, socket.SOCK_DGRAM)
                self._sockets[node, server] = made, time.monotonic() + _KEPT
            return await _answers(self._sockets[node, server][0], server, self._kind)
        except (OSError, WorldError) as problem:
            sock, until = self._sockets.get((node, server), (None, 0.0))
            silent = isinstance(problem, TimeoutError | ConnectionRefusedError)
            if sock is not None and not (silent and time.monotonic() < until):
                del self._sockets[node, server]
                sock.close()
            return False


async def _answers(sock: socket.socket, server: str, kind: int) -> bool:
    """RFC 1035, section 4."""
    loop = asyncio.get_running_loop()
    query = struct.pack("!6H", 1, _RECURSE, 1, 0, 0, 0) + _ASKED + struct.pack("!2H", kind, _IN)
    sock.setblocking(False)
    await loop.sock_connect(sock, (server, 53))
    await loop.sock_sendall(sock, query)
    async with asyncio.timeout(_ANSWER):
        said = await loop.sock_recv(sock, 512)
    return len(said) > len(query) and said[3] & 0xF == 0 and int.from_bytes(said[6:8]) > 0


async def _why_no_dns(client: Client, silent: list[str]) -> str:
    try:
        dns: Object = await client.get(DEPLOYMENT, "coredns", "kube-system")
    except ApiError as error:
        return str(error)
    status = dns.get("status") or {}
    ready, wanted = status.get("readyReplicas", 0), dns["spec"].get("replicas", 1)
    return f"{ready} of {wanted} pods are ready; no answer on {', '.join(silent)}"
