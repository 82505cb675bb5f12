"""What a CNI call costs: `python -m bench.cni [CALLS]`, as root.

A node of namespaces with a real agent process; the plugin is executed as a runtime does, one call after the other and
then twenty at once. CPU is plugin and agent together, children included. Figures are medians of this run: compare them
with each other, not with another machine's.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.ports.node.conftest import Lab, Node, seen_source

TICK = os.sysconf("SC_CLK_TCK")


def agent_cpu(node: Node) -> float:
    """Seconds of CPU that the agent has used so far, nanoseconds where the kernel keeps them."""
    assert node.agent is not None
    tasks = Path(f"/proc/{node.agent.pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def agent_memory(node: Node) -> int:
    assert node.agent is not None
    status = Path(f"/proc/{node.agent.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) // 1024


def call(node: Node, command: str, container: str, ns: Path) -> float:
    """Seconds that one execution of the plugin takes."""
    conflist = json.loads(node.conflist.read_text())
    config = json.dumps({**conflist["plugins"][0], "name": "clew", "cniVersion": "1.0.0"}).encode()
    env = {
        "CNI_COMMAND": command, "CNI_PATH": "/opt/cni/bin", "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0",
        "CNI_NETNS": str(ns),
    }  # fmt: skip
    started = time.perf_counter()
    subprocess.run([node.root / "bin" / "clew-cni"], input=config, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(node: Node, command: str, spaces: list[Path], *, width: int = 1) -> None:
    plugin, agent, started = children(), agent_cpu(node), time.perf_counter()
    numbered = list(enumerate(spaces))
    with ThreadPoolExecutor(width) as pool:
        times = list(pool.map(lambda item: call(node, command, f"bench{item[0]}", item[1]), numbered))
    count, wall = len(spaces), time.perf_counter() - started
    print(
        f"{command} {width:3d} at once: p50 {statistics.median(times) * 1e3:6.1f} ms, {count / wall:6.0f}/s,"
        f" CPU a call: plugin {(children() - plugin) / count * 1e3:5.1f} ms,"
        f" agent {(agent_cpu(node) - agent) / count * 1e3:5.2f} ms"
    )


def main(calls: int) -> None:
    with TemporaryDirectory() as folder, ExitStack() as cleanup:
        lab = Lab(Path(folder), (4,), cleanup)
        node = lab.node(1)
        started = time.perf_counter()
        node.start()
        wall = time.perf_counter() - started
        print(f"agent ready after {wall:.2f} s, {agent_cpu(node):.2f} s of CPU, {agent_memory(node)} MB resident")
        spaces = [lab.namespace(f"bench-{i}") for i in range(calls)]
        call(node, "ADD", "warm", spaces[0])
        call(node, "DEL", "warm", spaces[0])
        measure(node, "ADD", spaces)
        assert seen_source(spaces[0], spaces[-1], f"10.244.1.{calls + 2}") == "10.244.1.3", "pods reach each other"
        measure(node, "DEL", spaces)
        measure(node, "ADD", spaces, width=20)
        measure(node, "DEL", spaces, width=20)
        print(f"afterwards {agent_memory(node)} MB resident")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
