"""A CNI call, executed as a runtime does, against Debian's bridge, host-local and portmap plugins.

A node of namespaces with a real agent process. Both sides masquerade what leaves and open a host port for each pod. CPU
is plugin and agent together, children included.
"""

import json
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tests.packages import PackageError, unpacked
from tests.ports.node.conftest import Lab, Node, seen_source

from bench.figures import Figure, Say, median, process_cpu, resident, scaled
from clew.kernel import netns

PACKAGE = "containernetworking-plugins"
WIDTH = 20


class Cost(NamedTuple):
    """Of one call: median of time, mean of CPU, both in milliseconds; calls a second."""

    wall: float
    cpu: float
    rate: float


def execute(program: Path, command: str, container: str, ns: Path, config: dict[str, Any]) -> bytes:
    """One execution of a plugin: its standard output."""
    env = {
        "CNI_COMMAND": command, "CNI_PATH": str(program.parent), "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0",
        "CNI_NETNS": str(ns), "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
    }  # fmt: skip
    return subprocess.run([program], input=json.dumps(config).encode(), env=env, check=True, capture_output=True).stdout


def port_of(number: int) -> dict[str, Any]:
    return {"portMappings": [{"hostPort": 20000 + number, "containerPort": 80, "protocol": "tcp"}]}


class Ours:
    """One plugin that asks the agent."""

    def __init__(self, node: Node) -> None:
        self._program = node.root / "bin" / "clew-cni"
        self._config = {**json.loads(node.conflist.read_text())["plugins"][0], "name": "clew", "cniVersion": "1.0.0"}
        assert node.agent is not None
        self.agent = node.agent.pid

    def call(self, command: str, number: int, ns: Path) -> dict[str, Any]:
        config = self._config | {"runtimeConfig": port_of(number)}
        answer = execute(self._program, command, f"bench{number}", ns, config)
        return json.loads(answer) if answer else {}

    def cpu(self) -> float:
        return process_cpu(self.agent)


class Debians:
    """Two plugins of a chain, of which the first runs a third."""

    def __init__(self, folder: Path) -> None:
        self._bin = unpacked(PACKAGE) / "usr/lib/cni"
        ipam = {
            "type": "host-local",
            "subnet": "10.77.0.0/16",
            "dataDir": str(folder),
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        shared = {"name": "bench", "cniVersion": "1.0.0"}
        self._bridge = shared | {"type": "bridge", "bridge": "br", "isGateway": True, "ipMasq": True, "ipam": ipam}
        self._portmap = shared | {"type": "portmap"}

    def call(self, command: str, number: int, ns: Path) -> dict[str, Any]:
        name, ports = f"bench{number}", {"runtimeConfig": port_of(number)}
        if command == "DEL":
            execute(self._bin / "portmap", command, name, ns, self._portmap | ports)
            execute(self._bin / "bridge", command, name, ns, self._bridge)
            return {}
        first = json.loads(execute(self._bin / "bridge", command, name, ns, self._bridge))
        execute(self._bin / "portmap", command, name, ns, self._portmap | ports | {"prevResult": first})
        found: dict[str, Any] = first
        return found

    def cpu(self) -> float:
        return 0.0


Side = Ours | Debians


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cost(side: Side, command: str, spaces: list[Path], width: int = 1) -> Cost:
    def one(item: tuple[int, Path]) -> float:
        began = time.perf_counter()
        side.call(command, *item)
        return time.perf_counter() - began

    used, began = children() + side.cpu(), time.perf_counter()
    if width == 1:  # in this thread, since the namespace is the thread's
        times = [one(item) for item in enumerate(spaces)]
    else:
        with ThreadPoolExecutor(width) as pool:
            times = list(pool.map(one, enumerate(spaces)))
    wall, count = time.perf_counter() - began, len(spaces)
    return Cost(median(times) * 1e3, (children() + side.cpu() - used) / count * 1e3, count / wall)


def reachable(side: Side, spaces: list[Path]) -> None:
    """The pods that are made do reach each other, or the figures are worth nothing."""
    first, second = (side.call("ADD", 9000 + place, ns)["ips"][0]["address"] for place, ns in enumerate(spaces[:2]))
    ours, theirs = first.partition("/")[0], second.partition("/")[0]
    assert seen_source(spaces[0], spaces[1], theirs) == ours, "pods reach each other"
    for place, ns in enumerate(spaces[:2]):
        side.call("DEL", 9000 + place, ns)


def debians(folder: Path, ns: Path, spaces: list[Path], say: Say) -> dict[str, Cost]:
    """What the plugins of the package cost, or nothing where it cannot be had."""
    try:
        side = Debians(folder)
    except PackageError as error:
        say(f"no baseline: {error}")
        return {}

    def in_node() -> dict[str, Cost]:
        reachable(side, spaces)
        return {command: cost(side, command, spaces) for command in ("ADD", "DEL")}

    return netns.run_in(ns, in_node)


def figures(scale: float, say: Say) -> Iterator[Figure]:
    calls = scaled(100, scale, 3)
    with TemporaryDirectory() as name, ExitStack() as cleanup:
        folder = Path(name)
        lab = Lab(folder, (4,), cleanup)
        spaces = [lab.namespace(f"bench-{number}") for number in range(calls)]
        say(f"Debian's plugins, {calls} calls each way")
        theirs = debians(folder / "host-local", lab.namespace("other"), spaces, say)
        node = lab.node(1)
        began = time.perf_counter()
        node.start()
        yield Figure("agent's start until pods can be attached", time.perf_counter() - began, "s")
        mine = Ours(node)
        yield Figure("agent's CPU by then", mine.cpu(), "s")
        yield Figure("agent's memory", resident(mine.agent), "MiB")
        reachable(mine, spaces)
        yield from _compared(lambda command: cost(mine, command, spaces), theirs)
        for command in ("ADD", "DEL"):
            yield Figure(f"{command}, {WIDTH} at once", cost(mine, command, spaces, WIDTH).rate, "calls/s", more=True)
        yield Figure("agent's memory afterwards", resident(mine.agent), "MiB")


def _compared(ours: Callable[[str], Cost], theirs: dict[str, Cost]) -> Iterator[Figure]:
    against = f"{PACKAGE}: bridge, host-local, portmap" if theirs else ""
    for command in ("ADD", "DEL"):
        mine, other = ours(command), theirs.get(command)
        half = (other.wall / 2, other.cpu / 2) if other else (None, None)
        yield Figure(f"{command}: time", mine.wall, "ms", other and other.wall, against, half[0])
        yield Figure(f"{command}: CPU", mine.cpu, "ms", other and other.cpu, against, half[1])
