"""Services of a lab in the mode iptables, as a user meets them: kubectl and curl from pods, nodes and outside.

The semantics of every mode are held by tests/scenarios; here the whole way is, from the object to the packet. In the
end the mode is switched on the running nodes.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clew.dataplane.ebpf import facility
from clew.kernel import bpf
from clew.kernel.bpf.programs import KINDS

from .small_lab import CLEW, SmallLab, eventually, small_lab

pytestmark = pytest.mark.root
MANIFESTS = Path(__file__).with_name("services.yaml")
FILE = """apiVersion: clew.dev/v1alpha1
kind: Lab
nodes: 2
proxy: {mode: iptables, iptables: {syncPeriod: 2s}}
"""
NODES = {"node-1": "172.30.0.11", "node-2": "172.30.0.12"}
REFUSED = 7  # curl's exit status
TIMED_OUT = 28


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    folder = tmp_path_factory.mktemp("services")
    (folder / "lab.yaml").write_text(FILE)
    with small_lab(f"svc{os.getpid()}", folder, "--config", str(folder / "lab.yaml")) as lab:
        lab.apply(MANIFESTS.read_text())
        done = lab.kubectl("rollout", "status", "daemonset/web", "--timeout=60s", seconds=70)
        assert done.returncode == 0, done.stderr
        lab.wait("client")
        yield lab


def curl(lab: SmallLab, source: str, target: str, *options: str) -> tuple[int, str]:
    """Exit status and output; `source` is a node or outside."""
    done = lab.clew("node", "exec", source, "--", "curl", "-sS", "--max-time", "2", *options, f"http://{target}")
    return done.returncode, done.stdout


def answers(lab: SmallLab, source: str, target: str) -> set[str]:
    """Which servers answer 24 requests; where one is not answered, they end with the reason."""
    loop = f"for i in $(seq 24); do curl -sS --max-time 2 http://{target}/hostname || exit; echo; done"
    done = lab.clew("node", "exec", source, "--", "sh", "-c", loop)
    return {*done.stdout.split(), *done.stderr.splitlines()}


def programs(lab: SmallLab, node: str) -> list[tuple[int, str]]:
    """Ids and names of the BPF programs that a node's control group holds."""
    root = facility.cgroup_root()
    assert root is not None
    held = [each for kind in KINDS if kind != "tc" for each in bpf.held(root / f"clew/{lab.name}/{node}", kind)]
    for each in held:
        each.close()
    return [(each.id, each.name) for each in held]


def service(lab: SmallLab, name: str) -> Any:
    return lab.get("service", name)


def address(lab: SmallLab, name: str) -> str:
    return str(service(lab, name)["spec"]["clusterIP"])


def pods(lab: SmallLab) -> dict[str, str]:
    """The servers' names, by node."""
    return {
        each["spec"]["nodeName"]: each["metadata"]["name"]
        for each in lab.get("pods", "", "-l", "app=web")
        if "deletionTimestamp" not in each["metadata"]
    }


def test_a_service_is_reached_from_everywhere_it_should_be(lab: SmallLab) -> None:
    everybody = set(pods(lab).values())
    vip = address(lab, "web")
    for source, own in NODES.items():  # a node hears of an endpoint a moment after the API server does
        eventually(lambda: answers(lab, source, f"{vip}:80") == everybody, what=f"{source} knows both")  # noqa: B023
        assert answers(lab, "outside", f"{own}:30080") == everybody
    done = lab.kubectl("exec", "client", "--", "/agnhost", "connect", f"{vip}:80", "--timeout=3s")
    assert done.returncode == 0, done.stderr


def test_outside_a_cluster_address_and_a_pod_are_not_reached(lab: SmallLab) -> None:
    pod = lab.get("pods", "", "-l", "app=web")[0]["status"]["podIP"]
    for target in (f"{address(lab, 'web')}:80", f"{pod}:8080"):
        assert curl(lab, "node-1", target)[0] == 0
        assert curl(lab, "outside", target)[0] in {REFUSED, TIMED_OUT}


def test_a_pod_keeps_its_address_on_the_way_to_a_service(lab: SmallLab) -> None:
    client = lab.pod("client")["status"]["podIP"]
    url = f"http://{address(lab, 'web')}:80/clientip"
    dial = lab.kubectl("exec", "client", "--", "/bin/sh", "-c", f"wget -qO- {url} || curl -sS {url}")
    assert dial.stdout.startswith(f"{client}:"), dial.stdout + dial.stderr


def test_the_rules_are_kube_proxys(lab: SmallLab) -> None:
    said = lab.clew("node", "exec", "node-1", "--", "iptables-save", "-t", "nat").stdout
    assert "KUBE-SVC-NPX46M4PTMTKRN6Y" in said, "default/kubernetes:https has this name everywhere"
    assert ":KUBE-POSTROUTING" in said
    mode = curl(lab, "node-1", "127.0.0.1:10249/proxyMode")
    assert mode == (0, "iptables")
    shown = json.loads(curl(lab, "node-1", "127.0.0.1:10249/configz")[1])["kubeproxy.config.k8s.io"]
    assert (shown["Mode"], shown["IPTables"]["MasqueradeBit"], shown["SyncPeriod"]) == ("iptables", 14, "2s")
    assert "kubeproxy_sync_proxy_rules_iptables_total" in curl(lab, "node-1", "127.0.0.1:10249/metrics")[1]
    assert curl(lab, "node-1", "127.0.0.1:30080/hostname")[0] == 0, "iptables has node ports on loopback"
    accepted = "kubeproxy_iptables_localhost_nodeports_accepted_packets_total 1\n"
    eventually(lambda: accepted in curl(lab, "node-1", "127.0.0.1:10249/metrics")[1], 20, "one connection was counted")


def test_a_rule_that_somebody_deleted_comes_back(lab: SmallLab) -> None:
    save = "iptables-save -t nat"
    damage = f"iptables -t nat -F KUBE-NODEPORTS && iptables -t nat -F PREROUTING && {save}"

    def after(command: str) -> tuple[bool, bool]:
        said = lab.clew("node", "exec", "node-2", "--", "sh", "-c", command).stdout
        return "-A PREROUTING" in said, "--dport 30080" in said

    assert after(save) == (True, True)
    # unless the look every two seconds comes in between
    eventually(lambda: after(damage) == (False, False), 20, "the rules are gone")
    eventually(lambda: after(save) == (True, True), 20, "the rules are back")
    assert curl(lab, "outside", "172.30.0.12:30080/hostname")[0] == 0


def test_nobody_serves_and_the_client_is_told_at_once(lab: SmallLab) -> None:
    for source, target in (("node-1", f"{address(lab, 'empty')}:80"), ("outside", "172.30.0.12:30090")):
        assert curl(lab, source, target)[0] == REFUSED


def test_a_client_that_sticks_to_its_server(lab: SmallLab) -> None:
    target, everybody = f"{address(lab, 'sticky')}:80", set(pods(lab).values())
    assert answers(lab, "node-1", target) in [{each} for each in everybody]
    lab.kubectl("patch", "service", "sticky", "-p", '{"spec": {"sessionAffinity": "None"}}')
    eventually(lambda: answers(lab, "node-1", target) == everybody, what="there was another one to go to")


def test_a_load_balancers_address_and_its_health_checks(lab: SmallLab) -> None:
    near = service(lab, "near")
    status = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": "172.30.0.12"}]}}})
    done = lab.kubectl("patch", "service", "near", "--subresource=status", "--type=merge", "-p", status)
    assert done.returncode == 0, done.stderr
    own = pods(lab)["node-2"]
    eventually(lambda: curl(lab, "outside", "172.30.0.12:80/hostname") == (0, own), 10, "the address answers")
    assert curl(lab, "outside", "172.30.0.12:80/clientip")[1].startswith("172.30.0.100:"), "the source is kept"
    assert curl(lab, "node-1", "172.30.0.12:80")[0] == TIMED_OUT, "it is not among the source ranges"
    assert answers(lab, "node-1", f"{near['spec']['clusterIP']}:80") == {pods(lab)["node-1"]}
    port = near["spec"]["healthCheckNodePort"]

    def healthy(node: str) -> tuple[str, int]:
        """The status, and of how many servers the node knows: of one answer."""
        said = curl(lab, "outside", f"{node}:{port}/healthz", "-w", " %{http_code}")[1]
        text, _, status = said.rpartition(" ")
        return status, json.loads(text or "{}").get("localEndpoints", -1)

    assert {healthy(node) for node in NODES.values()} == {("200", 1)}
    lab.kubectl("label", "pod", own, "app-")  # the DaemonSet makes another, which takes a moment
    eventually(lambda: healthy("172.30.0.12") == ("503", 0), 20, "the node says that it has none")
    assert healthy("172.30.0.11") == ("200", 1), "the other one has its own"
    lab.kubectl("delete", "pod", own, "--wait=false")
    eventually(lambda: healthy("172.30.0.12") == ("200", 1), 40, "the new one counts")


def test_a_port_goes_with_the_type(lab: SmallLab) -> None:
    lab.kubectl("patch", "service", "web", "--type=merge", "-p", '{"spec": {"type": "ClusterIP"}}')
    eventually(lambda: curl(lab, "outside", "172.30.0.11:30080")[0] == REFUSED, 10, "the node port is closed")
    assert curl(lab, "node-1", f"{address(lab, 'web')}:80/hostname")[0] == 0
    lab.apply(MANIFESTS.read_text())
    eventually(lambda: curl(lab, "outside", "172.30.0.11:30080")[0] == 0, 10, "the node port is open again")


def test_of_two_services_with_one_address_the_later_is_told_and_inherits(lab: SmallLab) -> None:
    for name, app in (("first", "web"), ("second", "nobody")):
        spec = {"externalIPs": ["192.0.2.9"], "selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]}
        lab.apply(json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}))

    def told() -> bool:
        said = lab.kubectl("describe", "service", "second").stdout
        return "ServiceNotProxied" in said and "belongs to the older Service default/first" in said

    eventually(told, 20, "an Event on the second service")
    assert "ServiceNotProxied" not in lab.kubectl("describe", "service", "first").stdout
    assert curl(lab, "node-1", "192.0.2.9:80")[0] == 0, "the first has servers"
    lab.kubectl("delete", "service", "first")
    eventually(lambda: curl(lab, "node-1", "192.0.2.9:80")[0] == REFUSED, 10, "the second inherits, and has none")


def test_a_mode_that_is_not_there_is_refused_by_name(lab: SmallLab) -> None:
    done = lab.clew("up", "--name", "never", "--proxy-mode", "iptable")
    assert done.returncode == 1
    assert "'iptable' is not a mode" in done.stderr


SWITCHES = (
    ("iptables", "userspace", "KUBE-SERVICES|KUBE-SVC-"),
    ("userspace", "nftables", "KUBE-"),
    ("nftables", "ebpf", "clew-proxy"),
    ("ebpf", "iptables", "clew-ebpf|clew_services|clew_connect4"),
)
NEW = """while sleep 0.1; do
  curl -sS -o /dev/null --max-time 2 http://{vip}/hostname && echo well || echo failed
done"""
OLD = """exec 3<>/dev/tcp/{vip}/80 || exit
while printf 'GET /hostname HTTP/1.1\r\nHost: web\r\n\r\n' >&3 && read -r -t 5 -N 12 status <&3; do
  echo "$status"; read -r -t 0.2 -N 4096 rest <&3
done; echo ended"""


@contextmanager
def traffic(lab: SmallLab) -> Iterator[tuple[Path, Path]]:
    """What becomes of new connections to a service from a node, and of one that stays; two growing files."""
    files = (lab.folder / "new", lab.folder / "old")
    running = []
    try:
        for script, file in zip((NEW, OLD), files, strict=True):
            command = [CLEW, "node", "exec", "node-1", "--", "bash", "-c", script.format(vip=address(lab, "web"))]
            with file.open("wb") as out:
                running.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=lab.environment))
        eventually(lambda: all(file.read_text().count("\n") > 3 for file in files), 20, "both have begun")
        yield files
    finally:
        for each in running:
            each.terminate()
        for each in running:
            each.wait(10)


def left_of(theirs: str, lab: SmallLab, node: str) -> bool:
    """Whether a node's kernel has anything of these names."""
    filters = "for dev in /sys/class/net/*; do tc filter show dev ${dev##*/} ingress; done"
    said = lab.clew("node", "exec", node, "--", "sh", "-c", f"iptables-legacy-save; nft list tables; {filters}").stdout
    return bool(re.search(theirs, f"{said} {programs(lab, node)}"))


def cut_off(lab: SmallLab, mode: str) -> None:
    """Begin to change the mode, and be killed once that has been written down."""
    command = [CLEW, "up", "--proxy-mode", mode]
    cut = subprocess.Popen(command, env=lab.environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shape = Path(f"/var/lib/clew/{lab.name}/lab.json")
    eventually(lambda: f'"mode":"{mode}"' in shape.read_text(), 20, "the lab's shape says so")
    cut.kill()
    cut.wait(10)


def test_a_running_lab_changes_its_mode_and_connections_go_on(lab: SmallLab) -> None:
    """`clew up` returns when every node serves in the new mode, and nothing of the old one is left then.

    Once only the `clew up` that had written a change could carry it out: the next one saw nothing to change.
    """
    with traffic(lab) as (new, old):
        for before, after, theirs in SWITCHES:
            failed, answered = new.read_text().count("failed"), old.read_text().count("200")
            if after == "iptables":  # the last one, which another `clew up` goes on with
                cut_off(lab, after)
                done = lab.clew("up")
            else:
                done = lab.clew("up", "--proxy-mode", after)
                assert f"the nodes change over to proxy mode {after}\n" in done.stderr
            assert done.returncode == 0, done.stderr
            for node, own in NODES.items():
                assert curl(lab, node, "127.0.0.1:10249/proxyMode")[1] == after
                assert not left_of(theirs, lab, node), f"of mode {before} on {node}"
                assert curl(lab, "outside", f"{own}:30080/hostname")[0] == 0
                listening = lab.clew("node", "exec", node, "--", "ss", "-ltnH").stdout
                assert (":30080 " in listening) == (after == "userspace")
            assert answers(lab, "node-1", f"{address(lab, 'web')}:80") == set(pods(lab).values())
            if before != "userspace":  # its listeners end with it, and the node has no others until rules are in
                assert new.read_text().count("failed") == failed, f"{before} to {after}: {new.read_text()}"
            assert old.read_text().count("200") > answered, f"{before} to {after}: the connection has stopped"
        assert set(old.read_text().split("\n")) == {"HTTP/1.1 200", ""}, "one connection all the time"


def test_what_is_so_already_changes_nothing_and_what_cannot_be_is_refused(lab: SmallLab) -> None:
    assert "nothing has to change" in lab.clew("up", "--proxy-mode", "iptables").stderr
    shape = Path(f"/var/lib/clew/{lab.name}/lab.json").read_text()
    for arguments, said in (
        (("ebpf", "--nodes", "3"), f"lab {lab.name} is there with other nodes, which cannot change"),
        (("iptable",), "'iptable' is not a mode of the service proxy"),
    ):
        refused = lab.clew("up", "--proxy-mode", *arguments)
        assert refused.returncode == 1
        assert said in refused.stderr
    assert Path(f"/var/lib/clew/{lab.name}/lab.json").read_text() == shape


def test_a_configuration_edited_to_nonsense_stops_at_one_node_and_its_rules_serve_on(lab: SmallLab) -> None:
    """`kubectl rollout status`, `describe` and `clew up` tell; told what the lab is to be, `clew up` mends it."""
    text = lab.get("configmap", "clew-agent", "-n", "kube-system")["data"]["agent.yaml"]
    patch = json.dumps({"data": {"agent.yaml": text.replace('"mode": "iptables"', '"mode": "iptable"')}})
    lab.kubectl("patch", "configmap", "clew-agent", "-n", "kube-system", "--type=merge", "-p", patch)
    lab.kubectl("rollout", "restart", "daemonset/clew-agent", "-n", "kube-system")
    said = "mode: 'iptable' is not a mode of the service proxy"
    agents = ("describe", "pods", "-n", "kube-system", "-l", "k8s-app=clew-agent")
    eventually(lambda: said in lab.kubectl(*agents).stdout, 40, "what ended the agent is shown")
    for node in NODES.values():
        assert curl(lab, "outside", f"{node}:30080/hostname")[0] == 0
    assert [curl(lab, node, "127.0.0.1:10249/proxyMode")[1] for node in NODES].count("iptables") == 1, "the other waits"
    assert said in lab.clew("up", "--wait", "1").stderr
    mended = lab.clew("up", "--proxy-mode", "iptables")
    assert mended.returncode == 0, mended.stderr
    assert "the nodes change over to" in mended.stderr
    assert {curl(lab, node, "127.0.0.1:10249/proxyMode")[1] for node in NODES} == {"iptables"}
