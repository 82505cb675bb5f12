"""200 pods on a lab of three nodes, from the request until all are Running, against `runc run` alone.

Each pod is a pause process and one container of a Deployment. The baseline is as many containers by runc, one after the
other, without network, API or kubelet: what is left above it is ours.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import Figure, Say, scaled
from bench.labs import lab, until

BASELINE = 20  # containers by runc alone


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


def baseline(count: int) -> float:
    """Seconds a container takes by runc alone."""
    with TemporaryDirectory() as folder:
        bundle = Path(folder)
        (bundle / "rootfs").mkdir()
        subprocess.run(["runc", "spec"], cwd=bundle, check=True)
        config = json.loads((bundle / "config.json").read_text())
        config["process"] |= {"terminal": False, "args": ["/busybox", "true"]}
        (bundle / "rootfs/busybox").write_bytes(Path("/bin/busybox").read_bytes())
        (bundle / "rootfs/busybox").chmod(0o755)
        (bundle / "config.json").write_text(json.dumps(config))
        began = time.monotonic()
        for number in range(count):
            name = f"bench{os.getpid()}-{number}"
            command = ["runc", "--root", f"{folder}/state", "run", "--bundle", folder, name]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        return (time.monotonic() - began) / count


def figures(scale: float, say: Say) -> Iterator[Figure]:
    pods = scaled(200, scale, 3)
    say("runc alone")
    alone = baseline(scaled(BASELINE, scale, 2)) * pods
    say("a lab of three nodes")
    with lab(3) as at:

        def ready() -> bool:
            return at.run("kubectl", "get", "deployment", "many", "-o", "jsonpath={.status.readyReplicas}") == str(pods)

        def gone() -> bool:
            return not at.run("kubectl", "get", "pods", "-l", "app=many", "-o", "name").strip()

        before = at.cpu()
        at.run("kubectl", "apply", "-f", "-", text=deployment(pods))
        took = until(ready, f"{pods} pods are ready")
        used = {kind: seconds - before[kind] for kind, seconds in at.cpu().items()}
        yield Figure(f"{pods} pods Running", took, "s", alone, f"runc alone, {pods} times", goal=20)
        for kind, seconds in used.items():
            yield Figure(f"CPU a pod, {kind}", seconds / pods * 1e3, "ms")
        for kind, size in sorted(at.memory().items()):
            yield Figure(f"memory with {pods} pods, {kind}", size, "MiB")
        at.run("kubectl", "delete", "deployment", "many", "--wait=false")
        yield Figure(f"{pods} pods gone", until(gone, "all pods are gone"), "s")
