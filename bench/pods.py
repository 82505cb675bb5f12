"""Pods on a lab of three nodes: `python -m bench.pods [PODS]`, as root. A lab of its own, removed afterwards.

A Deployment of PODS replicas (200), each a pause process and one container, from the request until all are Running;
then their end. The baseline is the same number of containers by `runc run` alone, one after the other, without network,
API or kubelet: what is left above it is ours. Memory is what the lab's processes hold (PSS), idle and full.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from clew.cluster.runtime.supervisor import cgroups

NAME = f"bench{os.getpid()}"
CLEW = str(Path(sys.executable).with_name("clew"))
TICKS = os.sysconf("SC_CLK_TCK")
BASELINE = 20  # containers by runc alone


def run(environment: dict[str, str], *command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def deployment(replicas: int) -> str:
    container = {"name": "main", "image": "busybox", "command": ["sleep", "86400"], "imagePullPolicy": "IfNotPresent"}
    return json.dumps({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "many"}},
            "template": {
                "metadata": {"labels": {"app": "many"}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
            },
        },
    })  # fmt: skip


def processes() -> dict[str, list[int]]:
    """The lab's processes by what they are."""
    found = defaultdict(list)
    daemon = int(Path("/run/clew", NAME, "daemon.pid").read_text())
    found["daemon"].append(daemon)
    for pid in cgroups.members_below(f"/clew/{NAME}"):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        joined = b" ".join(words).decode(errors="replace")
        kinds = {"supervisor": "supervisors", "/pause": "pause", "sleep": "containers", "dns": "dns", "agent": "agents"}
        found[next((kind for word, kind in kinds.items() if word in joined), "others")].append(pid)
    return found


def pss(pids: list[int]) -> int:
    """KiB."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total


def cpu(parts: dict[str, list[int]]) -> dict[str, float]:
    """Seconds of processor time used so far, by part; `all` is the lab's, its containers and what started them too."""
    used = {}
    for kind in ("daemon", "supervisors", "agents"):
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split() for pid in parts[kind]]
        used[kind] = sum(int(each[11]) + int(each[12]) for each in fields) / TICKS
    used["all"] = used["daemon"] + cgroups.usage(f"/clew/{NAME}")["cpu"] / 1e9
    return used


def until(condition: Callable[[], bool], seconds: float = 300) -> float:
    started, tick = time.monotonic(), threading.Event()
    while not condition():
        if time.monotonic() - started > seconds:
            raise SystemExit("it takes too long; see `kubectl get events`")
        tick.wait(0.1)
    return time.monotonic() - started


def print_memory(title: str) -> None:
    held = {kind: (len(pids), pss(pids) / 1024) for kind, pids in processes().items()}
    parts = ", ".join(f"{kind} ({count}) {size:.0f}" for kind, (count, size) in sorted(held.items()))
    print(f"memory, {title}: {sum(size for _, size in held.values()):.0f} MiB of {parts}")


def baseline() -> float:
    """Seconds a container takes by runc alone."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder)
        (bundle / "rootfs").mkdir()
        subprocess.run(["runc", "spec"], cwd=bundle, check=True)
        config = json.loads((bundle / "config.json").read_text())
        config["process"] |= {"terminal": False, "args": ["/busybox", "true"]}
        (bundle / "rootfs/busybox").write_bytes(Path("/bin/busybox").read_bytes())
        (bundle / "rootfs/busybox").chmod(0o755)
        (bundle / "config.json").write_text(json.dumps(config))
        started = time.monotonic()
        for number in range(BASELINE):
            command = ["runc", "--root", f"{folder}/state", "run", "--bundle", folder, f"{NAME}-{number}"]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        return (time.monotonic() - started) / BASELINE


def main(pods: int) -> None:
    each = baseline()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "KUBECONFIG": f"{folder}/config", "CLEW_NAME": NAME,
        }  # fmt: skip

        def count(what: str) -> int:
            listed = run(environment, "kubectl", "get", "deployment", "many", "-o", f"jsonpath={{.status.{what}}}")
            return int(listed or 0)

        def gone() -> bool:
            return not run(environment, "kubectl", "get", "pods", "-l", "app=many", "-o", "name").strip()

        try:
            run(environment, CLEW, "up", "--name", NAME)
            print_memory("three nodes, idle")
            parts = processes()
            before = cpu(parts)
            run(environment, "kubectl", "apply", "-f", "-", text=deployment(pods))
            took = until(lambda: count("readyReplicas") == pods)
            used = {kind: seconds - before[kind] for kind, seconds in cpu(parts).items()}
            print(f"{pods} pods Running in {took:.1f} s, {took / pods / each:.1f} times {pods} runs of runc alone")
            print(f"one: {took / pods * 1000:.0f} ms; runc alone {each * 1000:.0f} ms")
            print("processor: " + ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in used.items()))
            print_memory(f"{pods} pods")
            run(environment, "kubectl", "delete", "deployment", "many", "--wait=false")
            print(f"gone in {until(gone):.1f} s")
        finally:
            subprocess.run([CLEW, "down", "--name", NAME], check=False, capture_output=True, env=environment)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
