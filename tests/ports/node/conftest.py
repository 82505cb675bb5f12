"""A physical network with two nodes and an outside host, all in namespaces, and an API server that says just enough."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.packages import unpacked

from clew.kernel import files, netns
from clew.kernel.netlink import Add, Address, Bridge, Delete, Link, Netlink, Peer, Route, SetLink, Veth
from clew.kernel.sysctl import Sysctl

ALL = {4: "0.0.0.0/0", 6: "::/0"}
ROUTERS = {4: "172.30.0.1", 6: "fd00:172:30::1"}  # the fabric itself; it leads nowhere
# seconds until a condition that should hold in one is given up; an emulated machine is ten times slower
PATIENCE = float(os.environ.get("CLEW_PATIENCE", "15"))


def eventually(condition: Any, what: str, times: float = 1, more: Any = str) -> Any:
    """The first true answer of `condition`; `times`: of what patience is usual; `more()`: what else to say then."""
    deadline = time.monotonic() + PATIENCE * times
    tick = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it never came to pass: {what} {more()}"
        tick.wait(0.02)
    return found


def mac_of(name: str) -> str:
    """Of a machine's card: it stays the same when the machine is off and on."""
    return ":".join(f"{byte:02x}" for byte in (2, *hashlib.sha256(name.encode()).digest()[:5]))


CORE = ("nodes", "services", "servicecidrs", "endpointslices", "pods", "secrets")


class Api:
    """An API server's lists and watches of nodes, services and slices, in a thread of its own."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._loop = asyncio.new_event_loop()
        self._objects: dict[str, dict[str, dict[str, Any]]] = {
            kind: {}
            for kind in (
                *CORE,
                "namespaces",
                "ippools",
                "ipamblocks",
                "ipreservations",
                "ipamconfigurations",
                "servicecidrs",
            )
        }
        self._version = 1
        self._history: list[tuple[int, str, bytes]] = []
        self._watchers: dict[str, list[asyncio.Queue[bytes]]] = {kind: [] for kind in self._objects}
        self._thread = threading.Thread(target=self._run, name="api", daemon=True)
        self._thread.start()

    def put(self, kind: str, name: str, obj: dict[str, Any] | None) -> None:
        asyncio.run_coroutine_threadsafe(self._put(kind, name, obj), self._loop).result(PATIENCE)

    def annotations(self, node: str) -> dict[str, str]:
        """What agents have written on a Node."""
        return dict(self._objects["nodes"][node]["metadata"].get("annotations", {}))

    def names(self, kind: str) -> list[str]:
        return sorted(self._objects[kind])

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._main = self._loop.create_task(self._serve())
        try:
            self._loop.run_until_complete(self._main)
        except asyncio.CancelledError:
            pass
        finally:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._converse, sock=self._listener)
        async with server:
            await server.serve_forever()

    async def _put(self, kind: str, name: str, obj: dict[str, Any] | None) -> None:
        self._version += 1
        known = name in self._objects[kind]
        gone = self._objects[kind].pop(name, None)
        if obj is not None:
            obj.setdefault("metadata", {}).update(name=name, resourceVersion=str(self._version))
            self._objects[kind][name] = obj
        if obj is None and gone is not None:
            gone["metadata"]["resourceVersion"] = str(self._version)
        event = {"type": "DELETED" if obj is None else "MODIFIED" if known else "ADDED", "object": obj or gone}
        line = json.dumps(event).encode() + b"\n"
        self._history.append((self._version, kind, line))
        for queue in self._watchers[kind]:
            queue.put_nowait(line)

    async def _annotate(self, kind: str, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        """The patches that agents send: annotations of their Node, the verdict on an IPPool."""
        obj = json.loads(json.dumps(self._objects[kind][name]))
        obj["metadata"].setdefault("annotations", {}).update(patch.get("metadata", {}).get("annotations", {}))
        obj.setdefault("status", {}).update(patch.get("status", {}))
        await self._put(kind, name, obj)
        return obj

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, target = head.split()[:2]
                path, _, query = target.partition("?")
                if method == "PATCH":
                    *_, kind, name = path.removesuffix("/status").split("/")
                    length = int(head.lower().partition("content-length:")[2].split()[0])
                    found = await self._annotate(kind, name, json.loads(await reader.readexactly(length)))
                elif method in {"POST", "PUT", "DELETE"}:
                    length = int(head.lower().partition("content-length:")[2].split()[0])
                    await self._write(method, path, json.loads(await reader.readexactly(length)), writer)
                    continue
                elif (parts := path.split("/"))[-2] in {"pods", "ipamblocks", "ippools"}:
                    await self._one(parts[-2], parts[-1], writer)
                    continue
                else:
                    kind = path.rsplit("/", 1)[1]
                    if "watch=" in query:
                        await self._watch(kind, int(query.partition("resourceVersion=")[2].split("&")[0] or 0), writer)
                    items = list(self._objects.get(kind, {}).values())
                    found = {"metadata": {"resourceVersion": str(self._version)}, "items": items}
                body = json.dumps(found).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, kind: str, name: str, writer: asyncio.StreamWriter) -> None:
        """One object, of whatever namespace; most containers here are no Pod's."""
        found = self._objects[kind].get(name)
        await self._answer(
            writer, 200 if found else 404, found or {"kind": "Status", "code": 404, "reason": "NotFound"}
        )

    async def _write(self, method: str, path: str, obj: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        """One version in place of the one that its writer saw, or a conflict: all that blocks of addresses need."""
        kind, name = path.split("/")[-2:] if method != "POST" else (path.rsplit("/", 1)[1], obj["metadata"]["name"])
        if kind not in {"ippools", "ipamblocks"}:  # an Event
            await self._answer(writer, 201, obj)
            return
        now = self._objects[kind].get(name)
        seen = obj.get("preconditions") if method == "DELETE" else obj["metadata"]
        same = now is not None and (seen or {}).get("resourceVersion") == now["metadata"]["resourceVersion"]
        if (method == "POST") == (now is not None) or (method != "POST" and not same):
            reason = "AlreadyExists" if method == "POST" else "Conflict"
            await self._answer(writer, 409, {"kind": "Status", "code": 409, "reason": reason})
            return
        await self._put(kind, name, None if method == "DELETE" else obj)
        await self._answer(writer, 200, obj)

    async def _answer(self, writer: asyncio.StreamWriter, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        writer.write(b"HTTP/1.1 %d It\r\nContent-Type: application/json\r\n" % status)
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async def _watch(self, kind: str, since: int, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        for version, of_kind, line in self._history:
            if of_kind == kind and version > since:
                queue.put_nowait(line)
        self._watchers[kind].append(queue)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await writer.drain()
            event = await queue.get()
            writer.write(b"%x\r\n" % len(event) + event + b"\r\n")


class Node:
    """A machine of the lab: its namespace, its folders, and the agent on it."""

    def __init__(self, lab: "Lab", name: str, addresses: tuple[str, ...], cidrs: tuple[str, ...], subnet: int) -> None:
        root = lab.root / name
        self.lab, self.name, self.addresses, self.cidrs, self.root = lab, name, addresses, cidrs, root
        self.ns = lab.namespace(name)
        self.agent: subprocess.Popen[bytes] | None = None
        self.subnet = subnet
        self._made = 0
        lab.plug(self.ns, addresses, subnet)
        root.mkdir()

    def publish(self) -> None:
        """Enter this node with the API server."""
        self.lab.api.put(
            "nodes",
            self.name,
            {
                "spec": {"podCIDRs": list(self.cidrs)},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": a.partition("/")[0]} for a in self.addresses]
                },
            },
        )

    @property
    def conflist(self) -> Path:
        return self.root / "net.d" / "10-clew.conflist"

    def start(self, **settings: Any) -> None:
        """The real agent as a process in this node's namespace, until pods can be attached."""
        self.configure(**settings)
        self.launch()
        eventually(self._ready, f"the agent of {self.name} is ready", 4, (self.root / "agent.log").read_text)

    def configure(self, **settings: Any) -> None:
        """Write the agent's configuration, in one step: one that runs follows it."""
        kubeconfig = self.root / "kubeconfig"
        kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": self.lab.server}}],
            "users": [{"name": "it", "user": {}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }))  # fmt: skip
        agent = {
            "apiVersion": "clew.dev/v1alpha1", "kind": "AgentConfiguration",
            "clusterCIDRs": self.lab.cluster_cidrs, "kubeconfig": str(kubeconfig),
            "socketPath": str(self.root / "cni.sock"), "stateDir": str(self.root / "state"),
            "cniBinDir": str(self.root / "bin"), "cniConfFile": str(self.conflist), **settings,
        }  # fmt: skip
        proxy = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
        files.replace(self.root / "config.yaml", (json.dumps(agent) + "\n---\n" + json.dumps(proxy)).encode())

    def launch(self) -> None:
        """The agent's process, with the configuration as it is."""
        program = (
            "import sys, pathlib; from clew.app import agent, agent_config;"
            "agent.main(agent_config.AgentOptions(pathlib.Path(sys.argv[1]), sys.argv[2]))"
        )
        log = (self.root / "agent.log").open("ab")
        command = [
            "nsenter",
            f"--net={self.ns}",
            sys.executable,
            "-c",
            program,
            str(self.root / "config.yaml"),
            self.name,
        ]
        self.agent = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()

    def _ready(self) -> bool:
        assert self.agent is not None
        assert self.agent.poll() is None, (self.root / "agent.log").read_text()
        return self.conflist.exists() and self.cni("STATUS", "")[0] == 0

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the agent; its exit status."""
        if self.agent is None:
            return 0
        agent, self.agent = self.agent, None
        agent.send_signal(number)
        return agent.wait(PATIENCE)

    def pod_mtu(self) -> int:
        """What a new pod gets."""
        self._made += 1
        pod = self.pod(f"new{self._made}")
        mtu = pod.result["interfaces"][-1]["mtu"]
        pod.detach()
        return int(mtu)

    def move(self, address: str) -> None:
        """Another address, in the kernel and with the API server."""
        old, self.addresses = self.addresses, (address,)
        with Netlink(self.ns) as kernel:
            kernel.request([*(Delete(Address(a, "eth0")) for a in old), Add(Address(address, "eth0", nodad=True))])
            kernel.request([Add(Route(ALL[4], via=ROUTERS[4]))])
        self.publish()

    def reboot(self) -> None:
        """The machine is off and on: nothing of its network is left, all files are."""
        self.stop(signal.SIGKILL)
        self.end_router()
        netns.delete(self.ns)
        self.ns = self.lab.namespace(self.name)
        self.lab.plug(self.ns, self.addresses, self.subnet)

    def end_router(self) -> None:
        """BIRD outlives its agent."""
        pid = self.root / "state" / "bird" / "pid"
        if pid.exists() and (number := pid.read_text().strip()):
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)
            pid.unlink(missing_ok=True)

    def cni(self, command: str, container: str, ns: Path | None = None, **more: Any) -> tuple[int, dict[str, Any]]:
        """Execute the installed plugin as a runtime does: exit status, and what it printed."""
        conflist = json.loads(self.conflist.read_text())
        config = {**conflist["plugins"][0], "name": conflist["name"], "cniVersion": "1.1.0", **more}
        env = {"CNI_COMMAND": command, "CNI_PATH": str(self.root / "bin"), "PATH": "/usr/bin:/bin"}
        env |= {"CNI_CONTAINERID": container, "CNI_IFNAME": "eth0"} if container else {}
        env |= {"CNI_NETNS": str(ns)} if ns else {}
        env["CNI_ARGS"] = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={container}"
        done = subprocess.run(
            [self.root / "bin" / "clew-cni"],
            input=json.dumps(config).encode(),
            env=env,
            capture_output=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert not done.stderr, done.stderr.decode()
        return done.returncode, json.loads(done.stdout) if done.stdout else {}

    def pod(self, container: str) -> "Pod":
        """A pod attached to this node."""
        pod = self.bare_pod(container)
        pod.attach()
        return pod

    def bare_pod(self, container: str) -> "Pod":
        """A pod's namespace, attached to nothing."""
        return Pod(self, container, self.lab.namespace(f"{self.name}-{container}"))

    def own_ips(self) -> set[str]:
        """Every address in the node's namespace."""
        with Netlink(self.ns) as kernel:
            return {each.address.partition("/")[0] for each in kernel.addresses()}

    def nft(self, family: str, table: str) -> str:
        """A table with its elements and handles."""
        command = ["nsenter", f"--net={self.ns}", "nft", "--handle", "list", "table", family, table]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout


class Pod:
    def __init__(self, node: Node, container: str, ns: Path) -> None:
        self.node, self.container, self.ns = node, container, ns
        self.result: dict[str, Any] = {}

    def attach(self, **config: Any) -> None:
        """ADD, with `config` beside the node's own."""
        status, self.result = self.node.cni("ADD", self.container, self.ns, **config)
        assert status == 0, self.result

    def detach(self) -> None:
        assert self.node.cni("DEL", self.container, self.ns) == (0, {})

    @property
    def ips(self) -> list[str]:
        return [ip["address"].partition("/")[0] for ip in self.result["ips"]]


class Lab:
    """`families` of addresses; the fabric's bridge carries nodes, the outside host and the API server."""

    def __init__(self, root: Path, families: tuple[int, ...], cleanup: ExitStack) -> None:
        self.root, self.families, self._cleanup = root, families, cleanup
        self.nodes: list[Node] = []
        self._plugs = 0
        self._ports: dict[str, str] = {}  # of the fabric, by the machine's name
        self.cluster_cidrs = [{4: "10.244.0.0/16", 6: "fd00:10:244::/48"}[family] for family in families]
        self.fabric = self.namespace("fabric")
        with Netlink(self.fabric) as kernel:
            kernel.request(
                [
                    Add(Link("sw", Bridge(stp=False), up=True)),
                    *(Add(Address(address, "sw", nodad=True)) for address in self._addresses(1)),
                    SetLink("lo", up=True),
                ]
            )
        host = ROUTERS[families[0]]
        family = socket.AF_INET if families[0] == 4 else socket.AF_INET6
        listener = netns.socket_in(self.fabric, family, socket.SOCK_STREAM)
        listener.bind((host, 0))
        listener.listen()
        port = listener.getsockname()[1]
        self.server = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.api = Api(listener)
        cleanup.callback(self.api.stop)
        self.outside = self.namespace("outside")
        self.plug(self.outside, self._addresses(100))

    def namespace(self, name: str) -> Path:
        path = self.root / "ns" / name
        netns.create(path)
        self._cleanup.callback(netns.delete, path)
        with Netlink(path) as kernel:
            kernel.request([SetLink("lo", up=True)] if "-" not in name else [])
        return path

    def subnet(self, number: int) -> None:
        """One more subnet, 172.30.NUMBER.0/24, behind the router that the fabric is."""
        with Netlink(self.fabric) as kernel:
            kernel.request([Add(Link(f"sw{number}", Bridge(stp=False), up=True))])
            kernel.request([Add(Address(a, f"sw{number}", nodad=True)) for a in self._addresses(1, number)])
        forwarding = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
        Sysctl(self.fabric).write({forwarding[family]: 1 for family in self.families})

    def silence(self) -> None:
        """The router says nothing of packets that are too large for it."""
        rules = "".join(
            f"add rule inet quiet out {each} drop\n"
            for each in ("icmp type destination-unreachable icmp code frag-needed", "icmpv6 type packet-too-big")
        )
        text = "add table inet quiet\nadd chain inet quiet out { type filter hook output priority 0; }\n" + rules
        subprocess.run(
            ["nsenter", f"--net={self.fabric}", "nft", "-f", "-"], input=text.encode(), check=True, timeout=10
        )

    def port_of(self, node: "Node") -> str:
        """The switch's end of its cable."""
        return self._ports[node.ns.name]

    def plug(self, ns: Path, addresses: tuple[str, ...], subnet: int = 0) -> None:
        """Connect a namespace to the fabric as eth0."""
        if (old := self._ports.get(ns.name)) is not None:  # its namespace dies slowly, or has taken it along already
            with Netlink(self.fabric) as fabric:
                (refusal,) = fabric.attempt([Delete(Link(old))])
                assert refusal is None or refusal.absent, refusal
        self._plugs += 1
        port = self._ports[ns.name] = f"p{self._plugs}"
        switch = f"sw{subnet}" if subnet else "sw"
        routers = [address.partition("/")[0] for address in self._addresses(1, subnet)]
        fd = os.open(ns, os.O_RDONLY)
        try:
            with Netlink(self.fabric) as fabric, Netlink(ns) as kernel:
                card = Peer("eth0", fd, mac=mac_of(ns.name))
                fabric.request([Add(Link(port, Veth(card), up=True, master=switch))])
                kernel.request(
                    [
                        SetLink("eth0", up=True),
                        *(Add(Address(address, "eth0", nodad=True)) for address in addresses),
                        *(Add(Route(ALL[6 if ":" in via else 4], via=via)) for via in routers),
                    ]
                )
        finally:
            os.close(fd)

    def node(self, number: int, *, publish: bool = True, subnet: int = 0) -> Node:
        cidrs = {4: f"10.244.{number}.0/24", 6: f"fd00:10:244:{number}::/64"}
        node = Node(
            self, f"node{number}", self._addresses(10 + number, subnet), tuple(cidrs[f] for f in self.families), subnet,
        )  # fmt: skip
        self.nodes.append(node)
        self._cleanup.callback(node.end_router)
        self._cleanup.callback(node.stop, signal.SIGKILL)
        if publish:
            node.publish()
        return node

    def route_back(self, ns: Path, node: Node) -> None:
        """Let the outside host find pods by the node, so that a missing masquerade would show and not just time out."""
        with Netlink(ns) as kernel:
            kernel.request(
                [
                    Add(Route(cidr, via=address.partition("/")[0]))
                    for cidr, address in zip(node.cidrs, node.addresses, strict=True)
                ]
            )

    def _addresses(self, host: int, subnet: int = 0) -> tuple[str, ...]:
        four = f"172.30.{subnet}.{host}/24"
        six = f"fd00:172:30:{subnet}::{host:x}/64" if subnet else f"fd00:172:30::{host:x}/64"
        return tuple({4: four, 6: six}[family] for family in self.families)


def seen_source(client: Path, server: Path, address: str, seconds: float = PATIENCE) -> str:
    """The address that a server in one namespace sees of a client in another; OSError where that cannot connect."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.socket_in(server, family, socket.SOCK_STREAM) as listener:
        listener.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        listener.listen()
        with netns.socket_in(client, family, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect((address, listener.getsockname()[1]))
            accepted, peer = listener.accept()
            accepted.close()
            return str(peer[0])


@contextmanager
def server(ns: Path, six: bool, port: int) -> Iterator[None]:
    """Something that listens on every address of a namespace; the kernel answers for it."""
    family = socket.AF_INET6 if six else socket.AF_INET
    with netns.socket_in(ns, family, socket.SOCK_STREAM) as listener:
        listener.bind(("::" if six else "0.0.0.0", port))
        listener.listen()
        yield


def connects(ns: Path, address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.socket_in(ns, family, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        return connection.connect_ex((address, port)) == 0


def page(ns: Path, port: int, path: str) -> tuple[int, str]:
    """Status and body of a page that a node serves on its loopback address; status 0 where nobody does."""
    with netns.socket_in(ns, socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        if connection.connect_ex(("127.0.0.1", port)):
            return 0, ""
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


@contextmanager
def made_lab(root: Path, families: tuple[int, ...]) -> Iterator[Lab]:
    with ExitStack() as cleanup:
        yield Lab(root, families, cleanup)


@pytest.fixture(params=[(4,), (6,), (4, 6)], ids=["ipv4", "ipv6", "dual"])
def any_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    with made_lab(tmp_path, request.param) as lab:
        yield lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with made_lab(tmp_path, (4,)) as lab:
        yield lab


@pytest.fixture
def dual_lab(tmp_path: Path) -> Iterator[Lab]:
    with made_lab(tmp_path, (4, 6)) as lab:
        yield lab


@pytest.fixture
def tools() -> SimpleNamespace:
    return SimpleNamespace(seen_source=seen_source, eventually=eventually, server=server, connects=connects, page=page)


@pytest.fixture
def bird(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program, found by the agents; unpacked, since its package would start a daemon."""
    programs = unpacked("bird2") / "usr/sbin"
    (library,) = unpacked("libssh-gcrypt-4").glob("usr/lib/*/libssh-gcrypt.so.4")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library.parent))
    return programs / "bird"
