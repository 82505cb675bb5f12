"""Into a running pod with kubectl: exec, terminals, cp, logs, attach, port-forward, run, debug."""

import hashlib
import os
import re
import urllib.request

import pytest

from .small_lab import eventually
from .typing_user import Terminal, User, like

pytestmark = pytest.mark.root

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: site, labels: {run: site}}
spec: {containers: [{name: site, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: pair, labels: {run: pair}}
spec:
  containers:
  - {name: site, image: nginx}
  - name: counter
    image: busybox
    command: [sh, -c, 'mkfifo /tmp/go; echo started; read line < /tmp/go; echo "told $line"; exec sleep 1000']
---
apiVersion: v1
kind: Service
metadata: {name: site}
spec: {selector: {run: site}, ports: [{name: web, port: 8000, targetPort: 80}, {name: udp, port: 53, protocol: UDP}]}
"""


@pytest.fixture(scope="module")
def pods(user: User) -> User:
    user.says("apply -f -", PODS)
    user.says("wait --for=condition=Ready pod --all --timeout=60s")
    return user


def test_exec_runs_and_ends_as_its_program_does(pods: User) -> None:
    assert pods.says("exec site -- hostname") == "site\n"
    assert pods.says("exec service/site -- echo hi") == "hi\n"
    assert pods.says("exec -i site -- cat", text="piped\n") == "piped\n"
    failed = pods.types("exec site -- sh -c 'echo out; echo err >&2; exit 7'")
    assert (failed.stdout, failed.stderr, failed.returncode) == (
        "out\n", "err\ncommand terminated with exit code 7\n", 7
    )  # fmt: skip
    assert 'exec: "nosuch": executable file not found in $PATH' in pods.refuses("exec site -- nosuch")
    assert pods.refuses("exec nobody -- ls") == 'Error from server (NotFound): pods "nobody" not found\n'


def test_an_unknown_container_is_said_to_be_unknown(pods: User) -> None:
    """After any refusal kubectl tries SPDY: what it was told then was that this server speaks WebSocket."""
    assert "container nosuch is not valid for pod site" in pods.refuses("exec site -c nosuch -- ls")
    assert "container nosuch is not valid for pod site" in pods.refuses("logs site -c nosuch")
    assert "nosuch" in pods.refuses("attach site -c nosuch")


def test_a_terminal_has_its_size_its_signals_and_its_exit_code(pods: User) -> None:
    def widen(terminal: Terminal) -> None:
        terminal.resize(40, 120)
        terminal.write("while [ \"$(stty size)\" != '40 120' ]; do :; done; echo wide-$((1+1))\n")

    printed, code = pods.terminal("exec -it site -- sh").plays(
        ("[#$] ", "stty size; tty; echo $TERM-$((1+1))\n"),
        ("xterm-2", widen),
        ("wide-2", "sh -c 'echo busy-$((1+1)); sleep 1000'\n"),
        ("busy-2", "\x03"),
        ("[#$] ", "exit 5\n"),
    )
    assert code == 5, printed
    assert "24 80" in printed
    assert "/dev/pts/0" in printed


def test_files_go_in_and_come_back(pods: User) -> None:
    data = os.urandom(3_000_000)
    (pods.folder / "big").write_bytes(data)
    pods.says("cp big site:/tmp/big")
    assert pods.says("exec site -- md5sum /tmp/big").split()[0] == hashlib.md5(data, usedforsecurity=False).hexdigest()
    pods.says("cp site:/tmp/big back")
    assert (pods.folder / "back").read_bytes() == data
    tree = pods.folder / "tree/inner"
    tree.mkdir(parents=True)
    (tree / "leaf").write_text("green")
    pods.says(f"cp tree {pods.namespace}/pair:/tmp/tree -c counter")
    assert pods.says("exec pair -c counter -- cat /tmp/tree/inner/leaf") == "green"
    pods.says("cp -c counter pair:/tmp/tree copy")
    assert (pods.folder / "copy/inner/leaf").read_text() == "green"
    # kubectl stops at the end of an archive, however tar ends: what tar complains of has to be out before that
    assert "/nope: No such file" in pods.types("cp site:/nope nope").stdout
    assert "doesn't exist in local filesystem" in pods.refuses("cp nosuchfile site:/tmp/")


def test_logs_of_one_of_all_of_before_and_as_they_come(pods: User) -> None:
    pods.until("logs pair -c counter", "started")
    lines = sorted(pods.says("logs pair --all-containers --prefix --tail=1").splitlines())  # kubectl has no order
    like("\n".join([*lines, ""]), """
        [pod/pair/counter] started
        [pod/pair/site] …""")  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z started\n", pods.says("logs pair -c counter --timestamps"))
    assert pods.says("logs site --tail=2").count("\n") == 2
    assert pods.says("logs -l run=site --tail=1").count("\n") == 1
    assert not pods.says("logs pair -c counter --since-time=2099-01-01T00:00:00Z")
    assert pods.says("logs site --since=1h --limit-bytes=9") == pods.says("logs site")[:9]
    assert "not found" in pods.refuses("logs pair -c counter --previous")
    with pods.running("logs -f pair -c counter") as follower:
        follower.until("^started$")
        pods.says("exec pair -c counter -- sh -c 'echo go > /tmp/go'")
        follower.until("^told go$")
    pods.says("run once --image=busybox --restart=Never -- sh -c 'echo one; echo two; exit 3'")
    pods.says("wait --for=jsonpath={.status.phase}=Failed pod/once --timeout=30s")
    with pods.running("logs -f once") as follower:
        assert follower.rest() == "one\ntwo\n"


def test_a_killed_container_starts_again_with_its_address_and_its_former_log(pods: User) -> None:
    ip = pods.says("get pod site -o jsonpath={.status.podIP}")
    pods.says("exec site -- sh -c 'kill 1'")
    pods.says("wait --for=jsonpath={.status.containerStatuses[0].restartCount}=1 pod/site --timeout=30s")
    pods.says("wait --for=condition=Ready pod/site --timeout=30s")
    assert pods.says("get pod site -o jsonpath={.status.podIP}") == ip
    like(pods.says("get pod site"), """
        NAME  READY  STATUS   RESTARTS     AGE
        site  1/1    Running  1 (…s ago)   …s""")  # fmt: skip
    assert "SIGTERM" in pods.says("logs site --previous")
    described = pods.says("describe pod site")
    assert re.search(r"Last State:\s+Terminated\n\s+Reason:\s+Completed\n\s+Exit Code:\s+0\n", described), described


def test_two_containers_share_localhost(pods: User) -> None:
    assert "Welcome to nginx!" in pods.says("exec pair -c counter -- wget -qO- 127.0.0.1:80")


@pytest.mark.parametrize("target", ["pod/site :80", "service/site :8000", "service/site :web"])
def test_a_port_is_forwarded(pods: User, target: str) -> None:
    with pods.running(f"port-forward {target}") as forwarder:
        port = re.search(r"Forwarding from 127.0.0.1:(\d+) -> 80", forwarder.until("-> 80$"))
        assert port
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}", timeout=10) as answer:
                assert b"Welcome to nginx!" in answer.read()
        forwarder.until(f"Handling connection for {port[1]}")


def test_what_cannot_be_forwarded_is_refused(pods: User) -> None:
    assert "UDP protocol is not supported for 53" in pods.refuses("port-forward service/site 8053:53")
    assert "does not have a service port 9" in pods.refuses("port-forward service/site 8009:9")
    with pods.running("port-forward pod/site :81") as forwarder:
        port = re.search(r"127.0.0.1:(\d+) -> 81", forwarder.until("-> 81$"))
        assert port
        with pytest.raises(OSError):  # noqa: PT011 - reset or closed, as it comes
            urllib.request.urlopen(f"http://127.0.0.1:{port[1]}", timeout=10)
        forwarder.until("failed to connect to localhost:81 inside namespace")


def test_run_is_a_shell_that_goes_when_it_ends(pods: User) -> None:
    printed, code = pods.terminal("run shell -ti --rm --image=radial/busyboxplus:curl").plays(
        ("[#$] ", "hostname; nslookup site\n"),
        (r"Address 1: [\d.]+ site\.", "curl -s site:8000 | grep title\n"),
        ("Welcome to nginx!", "exit\n"),
    )
    assert code == 0, printed
    assert "Session ended, resume using 'kubectl attach shell -c shell" in printed
    assert 'pod "shell" deleted' in printed
    # its container, which starts again and is deaf to SIGTERM, may still have its grace
    assert pods.types("get pod shell -o jsonpath={.metadata.deletionTimestamp}").stdout or pods.refuses("get pod shell")


def test_run_ends_as_its_program_does(pods: User) -> None:
    """An attach that reported the exit code made kubectl believe that attaching had failed."""
    done = pods.types("run brief -i --rm --restart=Never --image=busybox -- sh -c 'cat; exit 4'", text="over\n")
    assert done.returncode == 4, done.stderr
    assert done.stdout.startswith("over\n")
    assert f"pod {pods.namespace}/brief terminated (Error)" in done.stderr
    assert "couldn't attach" not in done.stderr


def test_attach_shows_and_feeds(pods: User) -> None:
    pods.says(
        "run ear -i --image=busybox --attach=false --restart=Never -- sh -c 'while read l; do echo heard $l; done'"
    )
    pods.says("wait --for=condition=Ready pod/ear --timeout=30s")
    assert "heard you" in pods.says("attach ear -i", text="you\n")
    pods.says("wait --for=jsonpath={.status.phase}=Succeeded pod/ear --timeout=30s")


def test_debug_adds_a_container_copies_a_pod_and_opens_a_node(pods: User) -> None:
    pods.says("debug site --image=busybox --target=site --container=look --attach=false -- sh -c 'ps; exec sleep 1000'")
    pods.says(
        "wait --for=jsonpath={.status.ephemeralContainerStatuses[0].state.running.startedAt} pod/site --timeout=30s"
    )
    eventually(lambda: "nginx: master" in pods.says("logs site -c look"), 20, "the target's processes are seen")
    pods.says("debug site --image=busybox --copy-to=twin --share-processes --attach=false -- sleep 1000")
    pods.says("wait --for=condition=Ready pod/twin --timeout=30s")
    assert len(pods.says("get pod twin -o jsonpath={.spec.containers[*].name}").split()) == 2
    said = pods.says("debug node/node-1 --image=busybox --attach=false -- ls /host/var/lib").split()
    name = next(word for word in said if word.startswith("node-debugger-node-1-"))
    pods.says(f"wait --for=jsonpath={{.status.phase}}=Succeeded pod/{name} --timeout=30s")
    assert "clew-agent" in pods.says(f"logs {name}").split()


def test_the_api_server_hands_requests_on(pods: User) -> None:
    """pods/proxy and services/proxy: by `get --raw`, and under `kubectl proxy` for a browser."""
    base = f"/api/v1/namespaces/{pods.namespace}"
    for path in (
        "services/site:web/proxy/",
        "services/site:8000/proxy/",
        "pods/site/proxy/",
        "pods/http:site:80/proxy/",
    ):
        assert "Welcome to nginx!" in pods.says(f"get --raw {base}/{path}"), path
    assert "Welcome to nginx!" in pods.says(f"get --raw {base}/pods/site/proxy")  # sent on to the path with a slash
    assert "the server could not find the requested resource" in pods.refuses(
        f"get --raw {base}/pods/site/proxy/nothing"
    )
    pods.refuses(f"get --raw '{base}/pods/pair:80/proxy/x%0d%0aInjected:%20yes'")
    eventually(lambda: "x%0d%0ainjected" in pods.says("logs pair -c site --tail=1").lower(), 20, "it stays encoded")
    assert 'no service port 9 found for service "site"' in pods.refuses(f"get --raw {base}/services/site:9/proxy/")
    assert "error trying to reach service" in pods.refuses(f"get --raw {base}/pods/site:81/proxy/")
    robot = f"--as=system:serviceaccount:{pods.namespace}:default"
    assert "services/proxy" in pods.refuses(f"get --raw {base}/services/site:web/proxy/ {robot}")
    with pods.running("proxy --port=0") as proxy:
        port = re.search(r"Starting to serve on 127.0.0.1:(\d+)", proxy.until("Starting to serve on"))
        assert port
        with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}{base}/services/site:web/proxy/", timeout=10) as answer:
            assert b"Welcome to nginx!" in answer.read()


def test_cluster_info_names_the_dns(pods: User) -> None:
    like(re.sub("\033\\[[0-9;]*m", "", pods.says("cluster-info")), """
        Kubernetes control plane is running at https://127.0.0.1:…
        CoreDNS is running at https://127.0.0.1:…/api/v1/namespaces/kube-system/services/kube-dns:dns/proxy

        To further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.""")  # fmt: skip
