"""A lab inside the guest, for tests that type at it. It is slow: one for all tests of a module."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.vm.guest import Done, Guest

KUBECONFIG = "/run/kubeconfig"  # the machine's own may be there too, and is not to be touched
BY_MODULES = "dummy0|tunl0|ip6tnl0|sit0"  # links that a module makes on its own when it is loaded
READY = 500  # seconds; idle it takes 60

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
spec: {type: NodePort, selector: {run: web}, ports: [{port: 80, nodePort: 30080}]}
"""


class GuestLab:
    def __init__(self, guest: Guest, name: str) -> None:
        self.guest = guest
        self._environment = {"CLEW_NAME": name, "KUBECONFIG": KUBECONFIG}

    def run(self, *command: str, seconds: float = 120) -> Done:
        return self.guest.run(*command, seconds=seconds, environment=self._environment)

    def kubectl(self, *arguments: str, seconds: float = 120) -> str:
        return self.run("kubectl", *arguments, seconds=seconds).ok().stdout

    def on(self, host: str, *command: str) -> str:
        """Standard output of a program on a node, or `outside`."""
        return self.run("clew", "node", "exec", host, "--", *command).ok().stdout

    def web(self) -> str:
        """The address of a service `web` (node port 30080) with two pods of nginx, ready."""
        (self.guest.share / "web.yaml").write_text(WEB)
        self.kubectl("apply", "-f", "/guest/web.yaml")
        limit = f"--timeout={self.guest.limit(200):.0f}s"
        self.kubectl("rollout", "status", "deployment/web", limit, seconds=220)
        return self.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")

    def traces(self) -> str:
        """Links, control groups and labs' files, as far as there are any."""
        links = f"ls /sys/class/net | grep -vxE '{BY_MODULES}'"
        look = f"{links}; find /sys/fs/cgroup -mindepth 1 -type d; find /run/clew* /var/lib/clew -type f"
        return self.run("sh", "-c", look).stdout


@contextmanager
def guest_lab(guest: Guest, name: str, *flags: str) -> Iterator[GuestLab]:
    """Two nodes; gone afterwards, with every link and control group that they had."""
    guest.measure()
    made = GuestLab(guest, name)
    before = made.traces()
    made.run("clew", "up", "--nodes", "2", "--wait", f"{guest.limit(READY):.0f}", *flags, seconds=READY + 20).ok()
    yield made
    made.run("clew", "down").ok()
    assert made.traces() == before
