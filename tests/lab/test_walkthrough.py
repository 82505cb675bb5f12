"""The main job, as a user types it: three nodes, the nginx walkthrough with the real kubectl, in each address family.

Then what the walkthrough's print cannot show: who the server saw, who answered how often, and that nothing is left.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from .small_lab import SmallLab, eventually, small_lab

ROOT = Path(__file__).parents[2]
REQUESTS = 48
NODES = ("node-1", "node-3")
FEWEST = 8  # of 48 at one of two pods: fewer come one time in a million by chance

pytestmark = pytest.mark.root

ECHO = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: echo, image: registry.k8s.io/e2e-test-images/agnhost:2.45, args: [netexec, --http-port=8080],
         readinessProbe: {httpGet: {path: /hostname, port: 8080}, periodSeconds: 1}}
      - {name: shell, image: radial/busyboxplus:curl, command: [sleep, '1000000']}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: pair}
spec:
  replicas: 2
  selector: {matchLabels: {app: pair}}
  template:
    metadata: {labels: {app: pair}}
    spec:
      containers:
      - {name: pair, image: registry.k8s.io/e2e-test-images/agnhost:2.45, args: [netexec, --http-port=8080],
         readinessProbe: {httpGet: {path: /hostname, port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: pair}
spec: {ipFamilyPolicy: PreferDualStack, selector: {app: pair}, ports: [{port: 80, targetPort: 8080}]}
"""


def links() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", params=["ipv4", "ipv6", "dual"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    """A lab of three nodes of one family; gone without a trace afterwards."""
    family = request.param
    name = f"walk{os.getpid()}{family}"
    folder = tmp_path_factory.mktemp(family)
    before = links()
    with small_lab(name, folder, "--ip-family", family) as lab:
        yield lab
    assert links() == before
    for root in ("/var/lib/clew", "/run/clew", "/var/log/clew"):
        assert not Path(root, name).exists()
    assert not (folder / "config").exists()
    left = subprocess.run(["pgrep", "-f", f"clew.app.lab {name}"], capture_output=True, check=False)
    assert left.returncode == 1


@pytest.fixture(scope="module")
def echoes(lab: SmallLab) -> list[dict]:
    """One pod a node that tells who asked, with a shell beside it; two more behind a service."""
    lab.apply(ECHO)
    for what in ("daemonset/echo", "deployment/pair"):
        done = lab.kubectl("rollout", "status", what, "--timeout=60s", seconds=70)
        assert done.returncode == 0, done.stderr
    return lab.get("pods", "", "-l", "app=echo")


def host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def addresses(pod: dict) -> list[str]:
    return [each["ip"] for each in pod["status"]["podIPs"]]


def ask(lab: SmallLab, source: str, *urls: str, seconds: int = 5) -> list[str]:
    """What a pod's shell or a node (`node-1`) gets from each, all in one go; empty for no answer."""
    script = "; ".join(f"curl -s -g -m {seconds} '{url}'; echo" for url in urls)
    command = ("sh", "-c", script)
    if source.startswith("node-"):
        return lab.clew("node", "exec", source, "--", *command).stdout.splitlines()
    return lab.kubectl("exec", source, "-c", "shell", "--", *command).stdout.splitlines()


def seen_from(text: str) -> str:
    """The address in netexec's `/clientip` answer."""
    return text.strip().rpartition(":")[0].strip("[]")


def test_the_walkthrough_works_as_typed(lab: SmallLab) -> None:
    done = lab.run(sys.executable, str(ROOT / "scripts/walkthrough.py"), seconds=200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def test_a_server_sees_the_clients_own_address(lab: SmallLab, echoes: list[dict]) -> None:
    """Pod to pod and node to pod, on one node and across: no NAT."""
    nodes = {node["metadata"]["name"]: node for node in lab.get("nodes")}
    targets = [(server["spec"]["nodeName"], address) for server in echoes for address in addresses(server)]
    urls = [f"http://{host(address)}:8080/clientip" for _, address in targets]
    for client in echoes:
        name = client["metadata"]["name"]
        told = [seen_from(each) for each in ask(lab, name, *urls)]
        own = addresses(client)
        wanted = [next(each for each in own if (":" in each) == (":" in address)) for _, address in targets]
        assert told == wanted, f"{name} at {targets}"
    for name, node in nodes.items():
        own = {each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP"}
        bridge = {str(ip_network(each).network_address + 1) for each in node["spec"]["podCIDRs"]}
        told = [seen_from(each) for each in ask(lab, name, *urls)]
        assert len(told) == len(targets), told
        for seen, (there, address) in zip(told, targets, strict=True):
            # to a pod of its own, a node speaks from the bridge's address
            assert seen in (bridge if there == name else own), f"{name} at {address} on {there} was seen as {seen}"


def test_both_pods_of_a_service_answer_everybody_about_equally(lab: SmallLab, echoes: list[dict]) -> None:
    service = lab.get("service", "pair")
    names = {pod["metadata"]["name"] for pod in lab.get("pods", "", "-l", "app=pair")}
    loop = f"i=0; while [ $i -lt {REQUESTS} ]; do curl -s -g -m 5 http://%s/hostname; echo; i=$((i+1)); done"
    for address in service["spec"]["clusterIPs"]:
        script = loop % host(address)
        for who in (echoes[0]["metadata"]["name"], "node-1", "node-3"):

            def count(who: str = who, script: str = script) -> Counter[str]:
                pod = ("exec", who, "-c", "shell", "--", "sh", "-c", script)
                node = ("node", "exec", who, "--", "sh", "-c", script)
                return Counter((lab.clew(*node) if who in NODES else lab.kubectl(*pod)).stdout.split())

            eventually(lambda count=count: set(count()) == names, what=f"{who} knows both")  # type: ignore[misc]
            counted = count()
            assert set(counted) == names, f"{who} at {address}: {counted}"
            assert sum(counted.values()) == REQUESTS
            assert min(counted.values()) >= FEWEST, f"{who} at {address}: {counted}"


def test_a_service_that_is_deleted_no_longer_answers(lab: SmallLab, echoes: list[dict]) -> None:
    service = lab.get("service", "pair")
    lab.kubectl("delete", "service", "pair")
    urls = [f"http://{host(address)}/hostname" for address in service["spec"]["clusterIPs"]]
    for source in ("node-2", echoes[0]["metadata"]["name"]):
        eventually(lambda source=source: not any(ask(lab, source, *urls, seconds=2)), 10, f"{urls} silent at {source}")


def test_describe_shows_the_services_family_and_endpoints(lab: SmallLab) -> None:
    lab.apply((ROOT / "examples/nginx.yaml").read_text())
    assert lab.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s", seconds=70).returncode == 0
    (family,) = lab.get("service", "my-nginx")["spec"]["ipFamilies"]
    pods = [pod for pod in lab.get("pods", "", "-l", "run=my-nginx") if "deletionTimestamp" not in pod["metadata"]]
    endpoints = {f"{host(addresses(pod)[0])}:80" for pod in pods}
    seen: dict[str, str] = {}

    def shown() -> bool:
        told = lab.kubectl("describe", "service", "my-nginx").stdout
        seen.update({line.partition(":")[0]: line.partition(":")[2].strip() for line in told.splitlines()})
        return set(seen["Endpoints"].split(",")) == endpoints

    eventually(shown, 20, f"{endpoints} are described")
    assert (seen["Type"], seen["IP Family Policy"], seen["IP Families"]) == ("ClusterIP", "SingleStack", family)


def test_a_pod_of_two_containers_is_one_host_on_one_veth(lab: SmallLab, echoes: list[dict]) -> None:
    """One address, one network namespace, the pause container's; one host link a pod."""
    for node in {pod["spec"]["nodeName"] for pod in echoes}:

        def as_many(node: str = node) -> bool:
            """But for a pod that ends: its link goes before its object does."""
            found = lab.get("pods", "", "-A", f"--field-selector=spec.nodeName={node},status.phase=Running")
            here = [pod for pod in found if not pod["spec"].get("hostNetwork")]
            shown = ("node", "exec", node, "--", "ip", "-j", "link", "show", "master", "cbr0")
            return len(json.loads(lab.clew(*shown).stdout)) == len(here)

        eventually(as_many, what=f"as many links as pods on {node}")
    name = echoes[0]["metadata"]["name"]
    spaces = {
        lab.kubectl("exec", name, "-c", container, "--", "readlink", "/proc/self/ns/net").stdout
        for container in ("echo", "shell")
    }
    assert len(spaces) == 1, spaces
    assert ask(lab, name, "http://localhost:8080/hostname") == [name]


def test_the_daemon_may_die_and_come_back(lab: SmallLab) -> None:
    pid = int(Path("/run/clew", lab.name, "daemon.pid").read_text())
    every = ("get", "pods", "-A", "-o", "jsonpath={.items[*].status.podIPs}")
    before = lab.kubectl(*every).stdout
    os.kill(pid, 9)
    assert lab.clew("up", "--name", lab.name).returncode == 0
    assert lab.kubectl(*every).stdout == before
    eventually(lambda: lab.clew("status", "--name", lab.name).returncode == 0, what="all is well")
