"""The nginx walkthrough: each command as a person types it, and what it really prints. Ends 0 only if all worked."""

import json
import os
import pty
import re
import select
import shlex
import subprocess
import sys
import time
from collections import Counter

BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: my-nginx
spec:
  selector:
    matchLabels:
      run: my-nginx
  replicas: 2
  template:
    metadata:
      labels:
        run: my-nginx
    spec:
      containers:
      - name: my-nginx
        image: nginx
        ports:
        - containerPort: 80
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: my-nginx
  labels:
    run: my-nginx
spec:
  ports:
  - port: 80
    protocol: TCP
  selector:
    run: my-nginx
"""


PROMPT = re.compile(r"[#$] $")


class StepError(Exception):
    """A command of the walkthrough did not do what it says."""


def title(text: str) -> None:
    print(f"\n{BOLD}# {text}{PLAIN}", flush=True)


def run(*command: str, stdin: str = "", show: bool = True, check: bool = True, timeout: float = 120) -> str:
    """Print the command and what it prints; return its output."""
    if show:
        shown = shlex.join(command)
        print(f"{BOLD}$ {shown}{PLAIN}" + (f" <<EOF\n{DIM}{stdin}{PLAIN}EOF" if stdin else ""), flush=True)
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if show and done.stdout:
        print(done.stdout.rstrip())
    if done.returncode and check:
        print(done.stderr.rstrip())
        raise StepError(f"`{' '.join(command)}` ended with {done.returncode}")
    return done.stdout


def piped(line: str) -> str:
    """A line for the shell, shown with what it prints."""
    print(f"{BOLD}$ {line}{PLAIN}", flush=True)
    printed = run("bash", "-o", "pipefail", "-c", line, show=False)
    print(printed.rstrip())
    return printed


def kubectl(*arguments: str, stdin: str = "", show: bool = True, check: bool = True) -> str:
    return run("kubectl", *arguments, stdin=stdin, show=show, check=check)


def items(*arguments: str) -> list[dict]:
    return json.loads(kubectl(*arguments, "-o", "json", show=False))["items"]


def wait_for(what: str, condition: object, seconds: float = 60) -> None:
    """Poll until the condition holds, with a dot a try."""
    print(f"{DIM}… {what} ", end="", flush=True)
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise StepError(f"not within {seconds:.0f} s: {what}")
        print(".", end="", flush=True)
        select.select([], [], [], 0.3)
    print(f"ok{PLAIN}", flush=True)


def _is_there(kind: str, name: str) -> bool:
    return bool(kubectl("get", kind, name, "--ignore-not-found", "-o", "name", show=False))


def shell(lines: list[str]) -> str:
    """`kubectl run -ti --rm` with a real terminal: type each line at the prompt, show all that appears."""
    command = ["kubectl", "run", "curl", "--image=radial/busyboxplus:curl", "-ti", "--rm"]
    if _is_there("pod", "curl"):  # of a walkthrough before: its shell hears no SIGTERM and has its 30 s of grace
        kubectl("delete", "pod", "curl", "--now", "--wait=false", "--ignore-not-found", show=False)
        wait_for("the former pod curl goes", lambda: not _is_there("pod", "curl"))
    print(f"{BOLD}$ {' '.join(command)}{PLAIN}", flush=True)
    child, terminal = pty.fork()
    if not child:
        os.execvp(command[0], command)  # noqa: S606 - a terminal of its own, no shell
    seen, pending, deadline, typed = "", list(lines), time.monotonic() + 90, 0
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1)
        if not ready:
            if not typed and "pressing enter" in seen:
                os.write(terminal, b"\n")
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:
            data = b""
        if not data:
            break
        sys.stdout.write(data.decode(errors="replace").replace("\r\n", "\n"))
        sys.stdout.flush()
        seen += data.decode(errors="replace")
        if pending and PROMPT.search(seen[typed:]):
            typed = len(seen)
            os.write(terminal, pending.pop(0).encode() + b"\n")
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    if os.waitstatus_to_exitcode(status) or pending:
        raise StepError("the shell in the pod did not end as it should")
    return seen


def nodes_and_pods() -> None:
    title("1. The cluster: three nodes, an agent on each, two DNS pods")
    kubectl("get", "nodes", "-o", "wide")
    kubectl("get", "pods", "-A", "-o", "wide")


def deployment() -> list[str]:
    title("2. Two nginx pods")
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl("scale", "deployment", "my-nginx", "--replicas", "2", show=False)
    kubectl("rollout", "status", "deployment/my-nginx", "--timeout=90s")
    wait_for("two pods are left", lambda: len(items("get", "pods", "-l", "run=my-nginx")) == 2)
    kubectl("get", "pods", "-l", "run=my-nginx", "-o", "wide")
    ips = [pod["status"]["podIP"] for pod in items("get", "pods", "-l", "run=my-nginx")]
    nodes = {pod["spec"]["nodeName"] for pod in items("get", "pods", "-l", "run=my-nginx")}
    if len(set(ips)) != 2 or len(nodes) != 2:
        raise StepError(f"two pods with two addresses on two nodes were expected: {ips} on {sorted(nodes)}")
    piped("kubectl get po -l run=my-nginx -o yaml | grep podIP")
    return ips


def reach_pods(ips: list[str]) -> None:
    title("3. Every node reaches every pod")
    nodes = [node["metadata"]["name"] for node in items("get", "nodes")]
    for node in nodes:
        for ip in ips:
            host = f"[{ip}]" if ":" in ip else ip
            # nginx may still be opening its port: a pod without a readiness probe is Running before that
            page = piped(f"clew node exec {node} -- curl -s --retry 5 --retry-connrefused {host}:80 | grep title")
            if "Welcome to nginx!" not in page:
                raise StepError(f"{node} did not get nginx's page from {ip}")


def service() -> str:
    title("4. A service in front of them")
    if kubectl("get", "svc", "my-nginx", "--ignore-not-found", "-o", "name", show=False):
        kubectl("get", "svc", "my-nginx")  # an earlier walk left it
    else:
        kubectl("create", "-f", "-", stdin=SERVICE)
    wait_for(
        "its endpoints",
        lambda: kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=my-nginx", "-o",
                        "jsonpath={.items[*].endpoints[*].addresses[*]}", show=False).count(" ") == 1,
    )  # fmt: skip
    kubectl("describe", "svc", "my-nginx")
    kubectl("get", "endpoints,endpointslices", "-l", "run=my-nginx")
    return kubectl("get", "svc", "my-nginx", "-o", "jsonpath={.spec.clusterIP}", show=False)


def balance(cluster_ip: str) -> None:
    host = f"[{cluster_ip}]" if ":" in cluster_ip else cluster_ip
    before = _requests()
    title(f"   40 requests to {cluster_ip} from node-1")
    command = f"for i in $(seq 40); do curl -s -m 5 -o /dev/null {host}:80 || echo failed; done"
    failed = run("clew", "node", "exec", "node-1", "--", "sh", "-c", command, show=False)
    if failed:
        raise StepError(f"{failed.count('failed')} of 40 requests failed")
    served = {pod: count - before.get(pod, 0) for pod, count in _requests().items()}
    for pod, count in served.items():
        print(f"    {pod} answered {count}")
    if sum(served.values()) < 40 or min(served.values()) < 5:
        raise StepError("both pods were expected to answer about equally often")


def _requests() -> Counter[str]:
    counts: Counter[str] = Counter()
    for pod in items("get", "pods", "-l", "run=my-nginx"):
        name = pod["metadata"]["name"]
        counts[name] = kubectl("logs", name, show=False).count('"GET / ')
    return counts


def names() -> None:
    title("5. The cluster's DNS")
    kubectl("get", "po", "-n", "kube-system", "-l", "k8s-app=kube-dns")
    kubectl("get", "svc", "-n", "kube-system", "kube-dns")
    seen = shell(
        [
            "nslookup kube-dns.kube-system.svc.cluster.local",
            "nslookup my-nginx",
            "nslookup kube-dns.kube-system",
            "nslookup kube-dns.kube-system.svc",
            "curl -s my-nginx | grep Welcome",
            "exit",
        ]
    )
    for expected in ("my-nginx.default.svc.cluster.local", "Welcome to nginx!"):
        if expected not in seen:
            raise StepError(f"{expected!r} was expected in the pod's shell")
    if "can't resolve" in seen:
        raise StepError("a name did not resolve in the pod's shell")


def grow() -> None:
    title("6. Three replicas: endpoints follow")
    kubectl("scale", "deployment", "my-nginx", "--replicas", "3")
    kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
    kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=my-nginx")


def kill() -> None:
    title("7. A process that dies is started again; its pod keeps its address")
    pod = items("get", "pods", "-l", "run=my-nginx")[0]["metadata"]["name"]
    kubectl("get", "pod", pod, "-o", "wide")
    before = kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}", show=False)
    restarts = int(kubectl("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}", show=False))
    kubectl("exec", pod, "--", "sh", "-c", "kill 1")
    again = f"jsonpath={{.status.containerStatuses[0].restartCount}}={restarts + 1}"
    kubectl("wait", f"--for={again}", f"pod/{pod}", "--timeout=60s", show=False)
    kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=60s", show=False)
    kubectl("get", "pod", pod, "-o", "wide")
    if kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}", show=False) != before:
        raise StepError("the pod was expected to keep its address")


def main() -> int:
    started = time.monotonic()
    try:
        nodes_and_pods()
        ips = deployment()
        reach_pods(ips)
        balance(service())
        names()
        grow()
        kill()
    except (StepError, subprocess.TimeoutExpired) as error:
        print(f"\nwalkthrough: {error}", file=sys.stderr)
        return 1
    print(f"\n{BOLD}It all worked, in {time.monotonic() - started:.0f} s; the lab goes on running.{PLAIN}")
    print("  kubectl get pods -A -o wide       go on as on any cluster: its context is current")
    print("  clew node exec outside -- CMD     be a machine beyond the cluster; clew status shows every part's health")
    print("  make down                         remove the lab")
    return 0


if __name__ == "__main__":
    sys.exit(main())
