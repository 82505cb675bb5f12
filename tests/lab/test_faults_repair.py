"""kill -9 of every part while a client talks to a service: repaired, and what carries the traffic carries it on.

One lab of two nodes for all, in a machine of its own. The client asks the ClusterIP from node-1, ten times a second,
and writes down each answer; the pod behind it is on node-1 too, so that node-2 may lose its power meanwhile.
"""

import contextlib
import shlex
from collections.abc import Iterator

import pytest

from .machine import CLEW, HOME, Machine, machine
from .small_lab import eventually

pytestmark = pytest.mark.root

WEB = """\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
DISK = "/var/lib/clew/clew/nodes/node-1"  # node-1's, as the machine sees it
ANSWERS, STOP = "/srv/answers", "/srv/stop"
ASK = ("curl", "-s", "-o", "/dev/null", "-m", "2", "-w", "%{http_code}\n")
CLIENT = f"while [ ! -e {STOP} ]; do {shlex.join(ASK)} http://$0/ >>{ANSWERS}; sleep 0.1; done"


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with machine() as made:
        made.well("mkdir", "-p", f"{HOME}/.kube")
        made.does("up", "--nodes", "2")
        assert made.run("kubectl", "apply", "-f", "-", text=WEB).returncode == 0
        made.well("kubectl", "wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
        yield made
        made.does("down")


def field(host: Machine, path: str, *what: str) -> str:
    return host.well("kubectl", "get", *what, "-o", f"jsonpath={path}")


@contextlib.contextmanager
def traffic(host: Machine) -> Iterator[None]:
    """A client at work; afterwards every answer must have been 200."""
    ip = field(host, "{.spec.clusterIP}", "svc", "web")
    host.run("rm", "-f", DISK + ANSWERS, DISK + STOP)
    on_node = (CLEW, "node", "exec", "node-1", "--")
    eventually(lambda: host.run(*on_node, *ASK, f"http://{ip}").stdout == "200\n", what="the service answers")
    host.background(shlex.join((*on_node, "sh", "-c", CLIENT, ip)))
    eventually(lambda: answers(host), what="the client began")
    yield
    seen = len(answers(host))
    eventually(lambda: len(answers(host)) > seen, what="the client goes on")
    host.well("touch", DISK + STOP)
    assert set(answers(host)) == {"200"}


def answers(host: Machine) -> list[str]:
    return host.run("cat", DISK + ANSWERS).stdout.split()


def kill(host: Machine, *words: str) -> None:
    """Every process of the machine whose command line has all of these words."""
    found = [
        line.split(None, 1)[0]
        for line in host.well("ps", "-eo", "pid,args").splitlines()
        if all(word in line for word in words)
    ]
    assert found, words
    host.well("kill", "-9", *found)


def well(host: Machine) -> bool:
    return host.clew("status").returncode == 0


def test_the_daemon(host: Machine) -> None:
    """The next up adopts every container: none is restarted, no address changes."""
    every = "{range .items[*]}{.metadata.name} {.status.podIP} {.status.containerStatuses[*].containerID}{'\\n'}{end}"
    before = field(host, every, "pods", "-A")
    with traffic(host):
        kill(host, "clew.app.lab")
        assert "daemon" in host.clew("status").stdout
        host.does("up")
    assert field(host, every, "pods", "-A") == before
    eventually(lambda: well(host), 30, "all is well again")


def test_agents(host: Machine) -> None:
    path = "{.items[*].status.containerStatuses[0].restartCount}"
    agents = ("pods", "-n", "kube-system", "-l", "k8s-app=clew-agent")
    before = [int(each) for each in field(host, path, *agents).split()]
    assert len(before) == 2
    with traffic(host):
        kill(host, "agent", "--config")
        eventually(lambda: [int(each) - 1 for each in field(host, path, *agents).split()] == before, 30)
        eventually(lambda: well(host), 30, "all is well again")


def test_dns(host: Machine) -> None:
    with traffic(host):
        kill(host, "dns", "--conf")
        eventually(lambda: resolves(host), 30, "DNS answers again")
        eventually(lambda: well(host), 30, "all is well again")


def test_a_node_that_loses_power(host: Machine) -> None:
    """It gets a new network: nothing of the old one, links and rules of dead pods, is in its way."""
    space = ("stat", "-Lc", "%i", "/run/clew/clew/netns/node-2")
    before = host.well(*space)
    with traffic(host):
        group = "find /sys/fs/cgroup -path '*/clew/clew/node-2/supervisor/cgroup.procs'"
        host.well("sh", "-c", f"kill -9 $(cat $({group}) | sort -u)")
        eventually(lambda: host.run(*space).stdout not in {"", before}, 30, "a new network namespace")
        eventually(lambda: well(host) and resolves(host), 60, "all is well again")


def test_everything(host: Machine) -> None:
    host.kill_everything()
    host.does("up")
    host.well("kubectl", "wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    with traffic(host):
        eventually(lambda: well(host) and resolves(host), 30, "all is well again")


def test_a_reboot(host: Machine) -> None:
    """Of the lab only its disk is left: no process, namespace, control group, and /run is empty."""
    host.kill_everything()
    host.run("sh", "-c", "umount /run/clew/clew/netns/*; rm -rf /run/clew")
    host.run("sh", "-c", "find /sys/fs/cgroup -depth -path '*/clew*' -type d -exec rmdir {} +")
    assert not host.run("sh", "-c", "find /sys/fs/cgroup -name clew; ls -d /run/clew").stdout
    host.does("up")
    host.well("kubectl", "wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    with traffic(host):
        eventually(lambda: well(host) and resolves(host), 30, "all is well again")


def resolves(host: Machine) -> bool:
    """Whether both nodes' packets find cluster DNS."""
    question = ("dig", "+time=1", "+tries=1", "+short", "@10.96.0.10", "web.default.svc.cluster.local")
    return all(host.clew("node", "exec", node, "--", *question).stdout.strip() for node in ("node-1", "node-2"))
