"""The lab itself on the kernel of Debian 12's users: Linux 6.1, control groups version 2 and nothing of version 1.

Everything here happens about ten times slower than outside: one small lab serves all tests.
"""

from collections.abc import Iterator

import pytest
from tests.vm.guest import Done, Guest

NAME = "vm"
KUBECONFIG = "/run/kubeconfig"
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {run: web}}
  template:
    metadata: {labels: {run: web}}
    spec:
      containers:
      - name: web
        image: nginx
        ports: [{containerPort: 80}]
        resources: {limits: {memory: 61Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {run: web}, ports: [{port: 80}]}
"""


class Lab:
    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def run(self, *command: str, seconds: float = 120) -> Done:
        return self._guest.run(*command, seconds=seconds, environment={"CLEW_NAME": NAME, "KUBECONFIG": KUBECONFIG})

    def kubectl(self, *arguments: str, seconds: float = 120) -> str:
        return self.run("kubectl", *arguments, seconds=seconds).ok().stdout

    def traces(self) -> str:
        """Links, control groups and the lab's files, as far as there are any."""
        look = "ls /sys/class/net; find /sys/fs/cgroup -mindepth 1 -type d; find /run/clew* /var/lib/clew -type f"
        return self.run("sh", "-c", look).stdout

    def on(self, node: str, *command: str) -> Done:
        return self.run("clew", "node", "exec", node, "--", *command)


@pytest.fixture(scope="module")
def lab(guest: Guest) -> Iterator[Lab]:
    """Two nodes; gone afterwards, with every link and control group that they had."""
    made = Lab(guest)
    before = made.traces()
    made.run("clew", "up", "--nodes", "2", "--wait", "500", seconds=520).ok()
    yield made
    made.run("clew", "down").ok()
    assert made.traces() == before


@pytest.fixture(scope="module")
def web(lab: Lab, guest: Guest) -> str:
    """The service's address, its pods ready."""
    (guest.share / "web.yaml").write_text(WEB)
    lab.kubectl("apply", "-f", "/guest/web.yaml")
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=200s", seconds=220)
    return lab.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_a_service_answers_on_every_node(lab: Lab, web: str, node: str) -> None:
    assert "Welcome to nginx" in lab.on(node, "curl", "-s", "-m", "30", web).ok().stdout


def test_pods_reach_each_other_and_the_service_by_name(lab: Lab, web: str) -> None:
    pods = lab.kubectl("get", "pods", "-l", "run=web", "-o", "jsonpath={range .items[*]}{.metadata.name} {end}").split()
    addresses = lab.kubectl("get", "pods", "-l", "run=web", "-o", "jsonpath={.items[*].status.podIP}").split()
    assert len(pods) == len(addresses) == 2
    for target in (addresses[1], web, "web.default.svc.cluster.local"):
        fetch = ("exec", pods[0], "--", "curl", "-s", "-m", "30", target)
        assert "Welcome to nginx" in lab.kubectl(*fetch), target


@pytest.mark.usefixtures("web")
def test_limits_are_set_in_control_groups_of_version_two(lab: Lab) -> None:
    limits = lab.run("sh", "-c", "cat $(find /sys/fs/cgroup -name memory.max) | grep -v max").ok().stdout.split()
    assert limits.count(str(61 << 20)) >= 2


@pytest.mark.usefixtures("web")
def test_nothing_of_the_lab_is_open_to_others(lab: Lab) -> None:
    """Sockets, keys and kubeconfigs are root's alone, and so is the folder with everything else."""
    look = "find /run/clew /var/lib/clew -xdev -type s -perm /077; find /var/lib/clew/vm -maxdepth 0 -perm /077"
    assert lab.run("sh", "-c", look).ok().stdout == ""
    keys = f"stat -c '%a %n' /var/lib/clew/vm/pki/* /var/lib/clew/vm/kubeconfig.json {KUBECONFIG}"
    listed = lab.run("sh", "-c", keys).ok().stdout.splitlines()
    assert len(listed) > 5
    assert [line for line in listed if not line.startswith("600 ")] == []
