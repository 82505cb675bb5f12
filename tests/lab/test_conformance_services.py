"""What the public conformance suite asks of Services, retold: the names of the cases are the suite's own words.

Each case makes its own Service over the servers below and takes it away again. Clients are a pod, a node and `outside`.
`CLEW_PROXY_MODES` names the modes that it is done in, apart by commas. tests/vm/test_conformance_ipvs.py does it in
mode ipvs, in a machine ten times slower.
"""

import json
import math
import os
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from .shells import Shell
from .small_lab import CLEW, SLOWNESS, SmallLab, eventually, small_lab

pytestmark = pytest.mark.root
MODES = os.environ.get("CLEW_PROXY_MODES", "nftables").split(",")
OUTSIDE = "172.30.0.100"
CURL = f"curl -g --max-time {3 * SLOWNESS**0.5:.0f}"  # what is dropped costs so many seconds each time
ENDING = round(50 * SLOWNESS)  # seconds that a server goes on after its end was asked for
NODES = {"node-1": "172.30.0.11", "node-2": "172.30.0.12", "node-3": "172.30.0.13"}
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {labels}}}
spec:
  nodeName: {node}
  hostNetwork: {host}
  terminationGracePeriodSeconds: {grace}
  containers:
  - name: main
    image: registry.k8s.io/e2e-test-images/agnhost:2.53
    args: {args}
    readinessProbe: {{httpGet: {{path: /healthz, port: {port}}}, periodSeconds: 1}}
"""


class Cluster:
    """A lab with two servers (node-1, node-2) and three clients (a pod on node-1 and node-3, node-3's own network)."""

    def __init__(self, lab: SmallLab) -> None:
        self.lab = lab
        self._shells: dict[str, Shell] = {}
        self.pod("one", "node-1", app="web")
        self.pod("two", "node-2", app="web")
        self.pod("near", "node-1", app="client")
        self.pod("far", "node-3", app="client")
        for name in ("one", "two", "near", "far"):
            lab.wait(name)
        self.ip = {name: lab.pod(name)["status"]["podIP"] for name in ("one", "two", "near", "far")}

    def pod(self, name: str, node: str, *, app: str, host: bool = False, ready: bool = True, **more: Any) -> None:
        port = more.get("port", 8080)
        args = ["netexec", f"--http-port={port}", f"--udp-port={port + 1}", *more.get("args", ())]
        if delay := more.get("delay_shutdown", 0):
            args.append(f"--delay-shutdown={delay}")
        self.lab.apply(
            POD.format(
                name=name, labels=json.dumps({"app": app}), node=node, host=str(host).lower(),
                port=port if ready else 1,
                grace=more.get("grace", 1), args=json.dumps(args),
            )
        )  # fmt: skip

    def service(self, name: str, *ports: dict[str, Any], app: str = "web", **spec: Any) -> Any:
        """Apply it and give back what the server made of it."""
        listed = list(ports) or [{"name": "http", "port": 80, "targetPort": 8080}]
        body = {"selector": {"app": app}, "ports": listed, **spec}
        if spec.get("selector", ...) is None:
            del body["selector"]
        text = json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": body})
        done = self.lab.kubectl("apply", "-f", "-", "-o", "json", text=text)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def run(self, source: str, script: str) -> tuple[int, str]:
        """A shell script from a pod, a node or outside: exit status and output."""
        if source not in self._shells:
            pod = source in self.ip
            way = ("kubectl", "exec", "-i", source) if pod else (CLEW, "node", "exec", source)
            self._shells[source] = Shell((*way, "--", "/bin/sh"), self.lab.environment)
        return self._shells[source].run(script, 90 * SLOWNESS)

    def close(self) -> None:
        for shell in self._shells.values():
            shell.close()

    def curl(self, source: str, url: str) -> tuple[int, str]:
        return self.run(source, f"{CURL} -sS http://{url}")

    def answers(self, source: str, target: str, tries: int = 12, enough: Collection[str] = ()) -> set[str]:
        """Who answers; an error of curl's is in it as `!7`. Once all of `enough` have, nobody is asked any more."""
        heard = [f'case $all in *" {each} "*) ;; *) false ;; esac' for each in enough] or ["false"]
        ask = f'all="$all$({CURL} -s http://{target}/hostname || echo !$?) "'
        loop = f"all=' '; for i in $(seq {tries}); do {ask}; if {' && '.join(heard)}; then break; fi; done; echo $all"
        return set(self.run(source, loop)[1].split())

    def dial(self, source: str, protocol: str, host: str, port: int, request: str = "hostname", tries: int = 24) -> Any:
        """The client of netexec in a pod, asked over HTTP from its node."""
        node = self.lab.pod(source)["spec"]["nodeName"]
        ask = f"dial?request={request}&protocol={protocol}&host={host}&port={port}&tries={tries}"
        limit = round(70 * SLOWNESS)
        return json.loads(self.run(node, f"curl -sS -g --max-time {limit} 'http://{self.ip[source]}:8080/{ask}'")[1])

    def until(self, source: str, target: str, expected: set[str], seconds: float = 15) -> None:
        seen: list[set[str]] = [set()]

        def same() -> bool:
            seen[0] = self.answers(source, target, enough=expected if len(expected) > 1 else ())
            return seen[0] == expected

        try:
            eventually(same, seconds)
        except AssertionError:
            raise AssertionError(f"{source} to {target}: {seen[0]}, not {expected}") from None

    def gone(self, source: str, target: str) -> None:
        """Nobody answers any more: refused, or no route leads there."""
        eventually(lambda: self.answers(source, target, 1) <= {"!7", "!28"}, 15, f"{source} no longer gets to {target}")

    def replace(self, name: str, *ports: dict[str, Any], **spec: Any) -> None:
        """The whole object anew, as a client does that has read it (`apply` merges ports by their number alone)."""
        made = self.lab.get("service", name)
        made["spec"] |= {"ports": list(ports), **spec}
        done = self.lab.kubectl("replace", "-f", "-", text=json.dumps(made))
        assert done.returncode == 0, done.stderr

    def remove(self, *things: str) -> None:
        for thing in things:
            kind, _, name = thing.rpartition("/")
            self.lab.kubectl("delete", kind or "service", name, "--now", "--ignore-not-found")


@pytest.fixture(scope="module", params=MODES)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("conformance")
    with small_lab(f"cf{os.getpid()}", folder, "--nodes", "3", "--proxy-mode", request.param) as lab:
        cluster = Cluster(lab)
        yield cluster
        cluster.close()


@pytest.fixture
def mode(cluster: Cluster) -> str:
    return cluster.run("node-1", "curl -sS http://127.0.0.1:10249/proxyMode")[1]


BOTH = {"one", "two"}
HTTP_AND_UDP = (
    {"name": "http", "port": 80, "targetPort": 8080},
    {"name": "udp", "port": 90, "targetPort": 8081, "protocol": "UDP"},
)


def test_should_provide_secure_master_service(cluster: Cluster) -> None:
    [port] = cluster.lab.get("service", "kubernetes")["spec"]["ports"]
    assert (port["name"], port["port"], port["protocol"]) == ("https", 443, "TCP")
    code, said = cluster.run("far", "curl -sS -k -o /dev/null -w '%{http_code}' https://kubernetes.default.svc:443/")
    assert (code, said) in {(0, "401"), (0, "403")}


def test_should_serve_a_basic_endpoint_from_pods(cluster: Cluster) -> None:
    vip = cluster.service("basic", app="basic")["spec"]["clusterIP"]
    cluster.until("far", vip, {"!7"})  # no endpoint yet
    cluster.pod("basic1", "node-1", app="basic")
    cluster.lab.wait("basic1")
    cluster.until("far", vip, {"basic1"})
    cluster.pod("basic2", "node-2", app="basic", port=8080)
    cluster.lab.wait("basic2")
    cluster.until("far", vip, {"basic1", "basic2"})
    cluster.remove("pod/basic1")
    cluster.until("far", vip, {"basic2"})
    cluster.remove("pod/basic2", "basic")


def test_should_serve_multiport_endpoints_and_be_updated_after_adding_or_deleting_ports(cluster: Cluster) -> None:
    vip = cluster.service("multi", *HTTP_AND_UDP)["spec"]["clusterIP"]
    for source in ("near", "far"):
        cluster.until(source, f"{vip}:80", BOTH)
        assert set(cluster.dial(source, "udp", vip, 90)["responses"]) == BOTH
    cluster.service("multi", HTTP_AND_UDP[1], {"name": "more", "port": 8888, "targetPort": 8080})
    cluster.until("far", f"{vip}:8888", BOTH)
    cluster.gone("far", f"{vip}:80")
    assert set(cluster.dial("far", "udp", vip, 90)["responses"]) == BOTH
    cluster.remove("multi")


@pytest.mark.parametrize("source", ["near", "far", "node-1", "node-3"])
def test_should_function_for_pod_service_and_node_service(cluster: Cluster, source: str) -> None:
    made = cluster.service("all", *HTTP_AND_UDP, type="NodePort")
    ports = {port["name"]: port["nodePort"] for port in made["spec"]["ports"]}
    cluster.until(source, f"{made['spec']['clusterIP']}:80", BOTH)
    for address in NODES.values():
        cluster.until(source, f"{address}:{ports['http']}", BOTH)
    if source in cluster.ip:
        assert set(cluster.dial(source, "udp", made["spec"]["clusterIP"], 90)["responses"]) == BOTH
        assert set(cluster.dial(source, "udp", NODES["node-2"], ports["udp"])["responses"]) == BOTH


def test_outside_reaches_node_ports(cluster: Cluster) -> None:
    made = cluster.service("all", *HTTP_AND_UDP, type="NodePort")
    for address in NODES.values():
        cluster.until("outside", f"{address}:{made['spec']['ports'][0]['nodePort']}", BOTH)
    cluster.remove("all")


def test_should_be_able_to_handle_large_requests(cluster: Cluster) -> None:
    vip = cluster.service("large", *HTTP_AND_UDP)["spec"]["clusterIP"]
    text = "x" * 2000
    cluster.until("far", f"{vip}:80", BOTH)
    assert cluster.dial("far", "http", vip, 80, f"echo?msg={text}", 1)["responses"] == [text]
    assert cluster.dial("far", "udp", vip, 90, f"echo%20{text}", 1)["responses"] == [text]
    cluster.remove("large")


def test_should_function_for_multiple_endpoint_services_with_same_selector(cluster: Cluster) -> None:
    vips = [cluster.service(name)["spec"]["clusterIP"] for name in ("same1", "same2")]
    for vip in vips:
        cluster.until("far", vip, BOTH)
    cluster.remove("same1")
    cluster.gone("far", vips[0])
    cluster.until("far", vips[1], BOTH)
    cluster.remove("same2")


def test_should_be_able_to_up_and_down_services_and_work_after_the_service_has_been_recreated(cluster: Cluster) -> None:
    first = cluster.service("again")["spec"]["clusterIP"]
    cluster.until("near", first, BOTH)
    cluster.remove("again")
    second = cluster.service("again", clusterIP=first)["spec"]["clusterIP"]
    assert first == second
    cluster.until("near", second, BOTH)
    cluster.remove("again")


def test_should_be_able_to_connect_to_an_external_ip_that_is_not_assigned_to_a_node(cluster: Cluster) -> None:
    cluster.service("external", externalIPs=["203.0.113.250"])
    for source in ("near", "far", "node-3"):
        cluster.until(source, "203.0.113.250:80", BOTH)
    cluster.remove("external")


def test_should_be_able_to_use_one_node_port_for_different_protocols(cluster: Cluster) -> None:
    tcp, udp = HTTP_AND_UDP
    cluster.service("twice", tcp | {"port": 80, "nodePort": 31080}, type="NodePort")
    cluster.replace("twice", tcp | {"nodePort": 31080}, udp | {"port": 80, "nodePort": 31080})
    vip = cluster.lab.get("service", "twice")["spec"]["clusterIP"]
    cluster.until("far", f"{NODES['node-3']}:31080", BOTH)
    assert set(cluster.dial("far", "udp", NODES["node-3"], 31080)["responses"]) == BOTH
    assert set(cluster.dial("far", "udp", vip, 80)["responses"]) == BOTH
    cluster.remove("twice")


def test_should_be_able_to_change_the_type_from_external_name_and_to_it(cluster: Cluster) -> None:
    cluster.service("name", type="ExternalName", externalName="foo.example.com", selector=None)
    code, said = cluster.run("far", "nslookup name 2>&1 | grep -c foo.example.com")
    assert int(said) >= 1, (code, said)
    merge = {"spec": {"type": "ClusterIP", "externalName": None, "selector": {"app": "web"}}}
    done = cluster.lab.kubectl("patch", "service", "name", "--type=merge", "-p", json.dumps(merge))
    assert done.returncode == 0, done.stderr
    cluster.until("far", "name", BOTH)
    done = cluster.lab.kubectl("patch", "service", "name", "-p", '{"spec": {"type": "NodePort"}}')
    assert done.returncode == 0, done.stderr
    port = cluster.lab.get("service", "name")["spec"]["ports"][0]["nodePort"]
    cluster.until("outside", f"{NODES['node-3']}:{port}", BOTH)
    back = {"spec": {"type": "ExternalName", "externalName": "bar.example.com", "clusterIP": "", "clusterIPs": None}}
    done = cluster.lab.kubectl("patch", "service", "name", "--type=merge", "-p", json.dumps(back))
    assert done.returncode == 0, done.stderr
    made = cluster.lab.get("service", "name")["spec"]
    assert "clusterIP" not in made
    assert "nodePort" not in made["ports"][0]
    cluster.until("outside", f"{NODES['node-3']}:{port}", {"!7"})
    cluster.remove("name")


def test_should_prevent_node_port_collisions_and_those_out_of_range_and_release_them(cluster: Cluster) -> None:
    port = {"name": "http", "port": 80, "targetPort": 8080}
    taken = cluster.service("taken", type="NodePort")["spec"]["ports"][0]["nodePort"]

    def refused(number: int) -> str:
        body = {"type": "NodePort", "selector": {"app": "web"}, "ports": [port | {"nodePort": number}]}
        made = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"}, "spec": body}
        return cluster.lab.kubectl("create", "-f", "-", text=json.dumps(made)).stderr

    assert "provided port is already allocated" in refused(taken)
    assert "provided port is not in the valid range. The range of valid ports is 30000-32767" in refused(40000)
    cluster.remove("taken")
    assert refused(taken) == ""
    cluster.remove("other")


@pytest.mark.parametrize("publish", [True, False])
def test_terminating_and_unready_endpoints_are_served_where_publish_not_ready_addresses_says_so(
    cluster: Cluster, publish: bool
) -> None:
    made = cluster.service("unready", app="unready", type="NodePort", publishNotReadyAddresses=publish)
    vip, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
    cluster.pod("unready1", "node-2", app="unready", ready=False, grace=ENDING + 10, delay_shutdown=ENDING)
    eventually(lambda: cluster.lab.pod("unready1")["status"]["phase"] == "Running", 30)
    expected = {"unready1"} if publish else {"!7"}
    cluster.until("far", vip, expected)
    cluster.until("outside", f"{NODES['node-2']}:{port}", expected)
    cluster.lab.kubectl("delete", "pod", "unready1", "--wait=false")
    eventually(lambda: "deletionTimestamp" in cluster.lab.pod("unready1")["metadata"], 10)
    cluster.until("far", vip, expected)
    cluster.lab.kubectl("delete", "pod", "unready1", "--grace-period=0", "--force")
    cluster.remove("unready")


def test_session_affinity_works_can_be_switched_and_times_out(cluster: Cluster, mode: str) -> None:
    made = cluster.service("sticky", type="NodePort", sessionAffinity="ClientIP")
    vip, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
    for source, target in (("far", vip), ("node-3", vip), ("outside", f"{NODES['node-1']}:{port}")):
        eventually(lambda s=source, t=target: cluster.answers(s, t) <= BOTH, 10)  # type: ignore[misc]
        assert len(cluster.answers(source, target, 16)) == 1, (source, target)
    cluster.lab.kubectl("patch", "service", "sticky", "-p", '{"spec": {"sessionAffinity": "None"}}')
    cluster.until("far", vip, BOTH)
    remembered = math.ceil(SLOWNESS**0.75)  # seconds; longer than one question after the other takes
    config = {"clientIP": {"timeoutSeconds": remembered}}
    cluster.service("sticky", type="NodePort", sessionAffinity="ClientIP", sessionAffinityConfig=config)
    eventually(lambda: len(cluster.answers("far", vip, 16)) == 1, 10, "it sticks again")
    seen = cluster.answers("far", vip, 1)

    def another() -> bool:
        seen.update(cluster.run("far", f"sleep {1.6 * remembered:.1f}; {CURL} -s http://{vip}/hostname")[1].split())
        return seen == BOTH

    if mode == "ipvs":  # it remembers as long as it knows of a connection, two minutes after its end
        assert not any([another(), another(), another()]), seen
    else:
        eventually(another, 40, "after the time-out any server may answer")
    cluster.remove("sticky")


def test_should_implement_service_proxy_name_and_headless(cluster: Cluster) -> None:
    vip = cluster.service("labelled")["spec"]["clusterIP"]
    cluster.until("far", vip, BOTH)
    for label in ("service.kubernetes.io/service-proxy-name=other", "service.kubernetes.io/headless="):
        cluster.lab.kubectl("label", "service", "labelled", label)
        cluster.gone("far", vip)
        cluster.lab.kubectl("label", "service", "labelled", f"{label.partition('=')[0]}-")
        cluster.until("far", vip, BOTH)
    cluster.remove("labelled")


def test_should_be_rejected_when_no_endpoints_exist(cluster: Cluster) -> None:
    made = cluster.service("none", *HTTP_AND_UDP, app="nobody", type="NodePort")
    vip, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
    for source, target in (("far", f"{vip}:80"), ("node-3", f"{vip}:80"), ("outside", f"{NODES['node-1']}:{port}")):
        cluster.until(source, target, {"!7"})
    errors = cluster.dial("far", "udp", vip, 90, tries=1)["errors"]
    assert "connection refused" in errors[0], errors
    cluster.remove("none")


def test_should_respect_internal_traffic_policy_local(cluster: Cluster) -> None:
    vip = cluster.service("inside", internalTrafficPolicy="Local")["spec"]["clusterIP"]
    cluster.until("near", vip, {"one"})
    cluster.until("node-1", vip, {"one"})
    cluster.gone("far", vip)  # node-3 has no server
    cluster.gone("node-3", vip)
    cluster.remove("inside")


def test_pods_of_the_nodes_network_serve_too(cluster: Cluster) -> None:
    cluster.pod("host", "node-2", app="host", host=True, port=8090)
    cluster.lab.wait("host")
    vip = cluster.service("host", {"port": 80, "targetPort": 8090}, app="host")["spec"]["clusterIP"]
    for source in ("near", "far", "node-1", "node-2"):
        cluster.until(source, vip, {"node-2"})
    cluster.remove("pod/host", "host")


@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_should_fall_back_to_terminating_endpoints_when_there_are_no_ready_ones(cluster: Cluster, policy: str) -> None:
    cluster.pod("ending", "node-1", app="ending", grace=ENDING + 10, delay_shutdown=ENDING)
    cluster.lab.wait("ending")
    made = cluster.service(
        "ending", app="ending", type="NodePort", externalTrafficPolicy=policy, internalTrafficPolicy=policy
    )
    vip, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
    cluster.until("near", vip, {"ending"})
    cluster.lab.kubectl("delete", "pod", "ending", "--wait=false")

    def conditions() -> Any:
        [piece] = cluster.lab.get("endpointslices", "", "-l", "kubernetes.io/service-name=ending")
        return piece["endpoints"][0]["conditions"]

    eventually(lambda: conditions() == {"ready": False, "serving": True, "terminating": True}, 10)
    for source, target in (("near", vip), ("node-1", vip), ("outside", f"{NODES['node-1']}:{port}")):
        cluster.until(source, target, {"ending"})
    if policy == "Cluster":
        cluster.until("far", vip, {"ending"})
        cluster.until("outside", f"{NODES['node-3']}:{port}", {"ending"})
    cluster.lab.kubectl("delete", "pod", "ending", "--grace-period=0", "--force")
    cluster.remove("ending")


def test_should_fail_health_check_node_port_if_there_are_only_terminating_endpoints(cluster: Cluster) -> None:
    cluster.pod("health", "node-1", app="health", grace=ENDING + 10, delay_shutdown=ENDING)
    cluster.lab.wait("health")
    made = cluster.service("health", app="health", type="LoadBalancer", externalTrafficPolicy="Local")
    port = made["spec"]["healthCheckNodePort"]
    ask = f"{CURL} -s -o /dev/null -w '%{{http_code}}' http://{NODES['node-1']}:{port}/"
    eventually(lambda: cluster.run("outside", ask)[1] == "200", 10)
    cluster.lab.kubectl("delete", "pod", "health", "--wait=false")
    eventually(lambda: cluster.run("outside", ask)[1] == "503", 10)
    cluster.lab.kubectl("delete", "pod", "health", "--grace-period=0", "--force")
    cluster.remove("health")


def test_should_preserve_source_pod_ip_for_traffic_through_a_service_cluster_ip(cluster: Cluster, mode: str) -> None:
    vip = cluster.service("source")["spec"]["clusterIP"]
    cluster.until("far", vip, BOTH)
    for source in ("near", "far"):
        seen = {cluster.curl(source, f"{vip}/clientip")[1].rpartition(":")[0] for _ in range(6)}
        expected = {cluster.ip[source]}
        assert seen == expected or mode == "userspace", seen
    cluster.remove("source")


def test_should_allow_pods_to_hairpin_back_to_themselves_through_services(cluster: Cluster) -> None:
    made = cluster.service("hairpin", *HTTP_AND_UDP, app="client", type="NodePort")
    cluster.until("near", f"{made['spec']['clusterIP']}:80", {"near", "far"})
    assert set(cluster.dial("near", "udp", made["spec"]["clusterIP"], 90)["responses"]) == {"near", "far"}
    port = made["spec"]["ports"][0]["nodePort"]
    cluster.until("near", f"{NODES['node-1']}:{port}", {"near", "far"})
    cluster.remove("hairpin")


def test_should_be_able_to_send_traffic_between_pods_without_snat(cluster: Cluster) -> None:
    for source in cluster.ip:
        for target, address in cluster.ip.items():
            if source != target:
                assert cluster.curl(source, f"{address}:8080/clientip")[1].rpartition(":")[0] == cluster.ip[source]


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_should_be_able_to_preserve_udp_traffic_when_server_pods_cycle(cluster: Cluster, kind: str) -> None:
    """A client that sends from one port all the time has to find the new server: old flows must not stay."""
    made = cluster.service("cycle", HTTP_AND_UDP[1], app="cycle", type=kind)
    address = made["spec"]["clusterIP"] if kind == "ClusterIP" else NODES["node-1"]
    port = 90 if kind == "ClusterIP" else made["spec"]["ports"][0]["nodePort"]
    script = f"echo hostname | /usr/bin/nc -u -w 1 -p 12345 {address} {port}"

    def reaches(name: str) -> bool:
        return name in cluster.run("near", script)[1]

    cluster.run("near", script)  # before there is a server
    cluster.pod("cycle1", "node-2", app="cycle")
    cluster.lab.wait("cycle1")
    eventually(lambda: reaches("cycle1"), 15, "the first server answers")
    cluster.pod("cycle2", "node-3", app="cycle")
    cluster.lab.wait("cycle2")
    cluster.remove("pod/cycle1")
    eventually(lambda: reaches("cycle2"), 15, "the second answers the same flow")
    cluster.remove("pod/cycle2", "cycle")


def test_should_be_able_to_cleanup_conntrack_entries_when_udp_service_target_port_changes(cluster: Cluster) -> None:
    made = cluster.service("moved", HTTP_AND_UDP[1] | {"targetPort": 9999}, type="NodePort")
    script = f"echo hostname | /usr/bin/nc -u -w 1 -p 12346 {NODES['node-1']} {made['spec']['ports'][0]['nodePort']}"
    assert cluster.run("near", script)[1] == "", "nobody listens there"
    cluster.replace("moved", made["spec"]["ports"][0] | {"targetPort": 8081})
    eventually(lambda: cluster.run("near", script)[1] in BOTH, 15, "the same flow finds the new port")
    cluster.remove("moved")


def test_should_set_tcp_close_wait_timeout(cluster: Cluster) -> None:
    """Half-closed connections to services lost their translation after the kernel's own minute."""
    kept = {"established": "86400", "close_wait": "3600"}
    for state, seconds in kept.items():
        where = f"/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_{state}"
        assert cluster.run("node-1", f"cat {where}")[1] == seconds, state


def test_should_handle_updates_to_external_traffic_policy_field(cluster: Cluster, mode: str) -> None:
    made = cluster.service("policy", type="LoadBalancer", externalTrafficPolicy="Local")
    near, far = (f"{NODES[node]}:{made['spec']['ports'][0]['nodePort']}" for node in ("node-1", "node-3"))
    health = f"{NODES['node-1']}:{made['spec']['healthCheckNodePort']}/"

    def client(node: str) -> str:
        return cluster.curl("outside", f"{node}/clientip")[1].rpartition(":")[0]

    def switch(policy: str) -> Any:
        body = json.dumps({"spec": {"externalTrafficPolicy": policy}})
        assert cluster.lab.kubectl("patch", "service", "policy", "-p", body).returncode == 0
        return cluster.lab.get("service", "policy")["spec"]

    cluster.until("outside", near, {"one"})
    assert client(near) == OUTSIDE or mode == "userspace"
    cluster.until("far", far, BOTH)  # who is in the cluster takes the short cut
    assert cluster.curl("outside", health)[0] == 0
    assert "healthCheckNodePort" not in switch("Cluster")
    cluster.until("outside", far, BOTH)
    assert client(far) != OUTSIDE
    eventually(lambda: cluster.curl("outside", health)[0] == 7, 10, "nobody answers load balancers any more")
    assert switch("Local")["healthCheckNodePort"]
    cluster.until("outside", near, {"one"})
    cluster.remove("policy")


def test_load_balancers_take_only_what_is_meant_for_them_and_need_no_node_ports(cluster: Cluster) -> None:
    made = cluster.service("lb", *HTTP_AND_UDP, type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert all("nodePort" not in port for port in made["spec"]["ports"])

    def ingress(**more: str) -> None:
        body = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.77"} | more]}}})
        done = cluster.lab.kubectl("patch", "service", "lb", "--subresource=status", "--type=merge", "-p", body)
        assert done.returncode == 0, done.stderr

    ingress()
    cluster.until("far", "203.0.113.77:80", BOTH)
    assert set(cluster.dial("far", "udp", "203.0.113.77", 90)["responses"]) == BOTH
    ingress(ipMode="Proxy")
    cluster.gone("far", "203.0.113.77:80")
    body = '{"spec": {"allocateLoadBalancerNodePorts": true}}'
    assert cluster.lab.kubectl("patch", "service", "lb", "-p", body).returncode == 0
    assert all("nodePort" in port for port in cluster.lab.get("service", "lb")["spec"]["ports"])
    cluster.remove("lb")


def test_should_be_rejected_for_pods_that_have_ended(cluster: Cluster) -> None:
    """A pod that was evicted, or ended by itself, keeps its address in its status."""
    server = {"name": "main", "image": "agnhost", "args": ["netexec"]}
    body = {"nodeName": "node-2", "restartPolicy": "Never", "containers": [server]}
    metadata = {"name": "ended", "labels": {"app": "ended"}}
    cluster.lab.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}))
    cluster.lab.wait("ended")
    vip = cluster.service("ended", app="ended")["spec"]["clusterIP"]
    cluster.until("far", vip, {"ended"})
    cluster.lab.kubectl("exec", "ended", "--", "kill", "1")
    eventually(lambda: cluster.lab.pod("ended")["status"]["phase"] in {"Failed", "Succeeded"}, 15)
    assert cluster.lab.pod("ended")["status"]["podIP"]
    cluster.until("far", vip, {"!7"})
    cluster.remove("ended", "pod/ended")


def test_should_allow_creating_a_basic_sctp_service_and_a_pod_with_an_sctp_host_port(cluster: Cluster) -> None:
    cluster.service("sctp", {"name": "s", "port": 5060, "protocol": "SCTP"}, type="NodePort")

    def protocols() -> list[str]:
        found = cluster.lab.get("endpointslices", "", "-l", "kubernetes.io/service-name=sctp")
        return [port["protocol"] for each in found for port in each["ports"]]

    eventually(lambda: protocols() == ["SCTP"], 10)
    ports = [{"containerPort": 5060, "hostPort": 5061, "protocol": "SCTP"}]
    server = {"name": "main", "image": "agnhost", "args": ["netexec"], "ports": ports}
    body = {"nodeName": "node-2", "terminationGracePeriodSeconds": 1, "containers": [server]}
    cluster.lab.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sctp"}, "spec": body}))
    cluster.lab.wait("sctp")
    cluster.remove("sctp", "pod/sctp")


def test_endpoint_slices_by_hand(cluster: Cluster) -> None:
    """Several ports in several slices, several addresses in several slices; no selector."""
    vip = cluster.service(
        "hand",
        {"name": "first", "port": 8081, "targetPort": 1},
        {"name": "second", "port": 8082, "targetPort": 2},
        selector=None,
    )["spec"]["clusterIP"]
    for place, (server, name) in enumerate([("one", "first"), ("two", "second"), ("two", "first")]):
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"hand-{place}", "labels": {"kubernetes.io/service-name": "hand"}},
            "addressType": "IPv4",
            "ports": [{"name": name, "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [cluster.ip[server]]}],
        }
        cluster.lab.apply(json.dumps(body))
    cluster.until("far", f"{vip}:8081", BOTH)
    cluster.until("far", f"{vip}:8082", {"two"})
    cluster.remove("hand", *(f"endpointslice/hand-{place}" for place in range(3)))


def test_should_mirror_a_custom_endpoints_resource_through_create_update_and_delete(cluster: Cluster) -> None:
    vip = cluster.service("mirror", selector=None)["spec"]["clusterIP"]

    def put(*names: str) -> None:
        addresses = [{"ip": cluster.ip[name]} for name in names]
        subsets = [{"addresses": addresses, "ports": [{"name": "http", "port": 8080}]}]
        made = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "mirror"}, "subsets": subsets}
        cluster.lab.apply(json.dumps(made))

    def mirrored() -> list[str]:
        found = cluster.lab.get("endpointslices", "", "-l", "kubernetes.io/service-name=mirror")
        assert all(
            each["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
            == "endpointslicemirroring-controller.k8s.io"
            for each in found
        )
        return sorted(address for piece in found for end in piece["endpoints"] for address in end["addresses"])

    put("one")
    eventually(lambda: mirrored() == [cluster.ip["one"]], 10)
    cluster.until("far", vip, {"one"})
    put("two")
    eventually(lambda: mirrored() == [cluster.ip["two"]], 10)
    cluster.until("far", vip, {"two"})
    cluster.lab.kubectl("delete", "endpoints", "mirror")
    eventually(lambda: mirrored() == [], 10)
    cluster.remove("mirror")


def test_should_mirror_a_custom_endpoint_with_multiple_subsets_and_same_ip_address(cluster: Cluster) -> None:
    ports = ({"name": "a", "port": 81, "targetPort": 1}, {"name": "b", "port": 82, "targetPort": 2})
    vip = cluster.service("subsets", *ports, selector=None)["spec"]["clusterIP"]
    one, two = ({"ip": cluster.ip[name]} for name in ("one", "two"))
    subsets = [
        {"addresses": [one], "ports": [{"name": "a", "port": 8080}]},
        {"addresses": [one, two], "ports": [{"name": "b", "port": 8080}]},
    ]
    made = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "subsets"}, "subsets": subsets}
    cluster.lab.apply(json.dumps(made))
    cluster.until("far", f"{vip}:81", {"one"})
    cluster.until("far", f"{vip}:82", BOTH)
    cluster.remove("subsets")


def test_should_find_a_service_from_listing_all_namespaces_and_delete_a_collection(cluster: Cluster) -> None:
    for number in range(3):
        cluster.service(f"many{number}")
        cluster.lab.kubectl("label", "service", f"many{number}", "group=many")
    listed = cluster.lab.get("services", "", "-A", "-l", "group=many")
    assert [each["metadata"]["name"] for each in listed] == ["many0", "many1", "many2"]
    done = cluster.lab.kubectl("delete", "services", "-l", "group=many")
    assert done.returncode == 0, done.stderr
    assert cluster.lab.get("services", "", "-l", "group=many") == []


def test_should_complete_a_service_status_lifecycle(cluster: Cluster) -> None:
    cluster.service("status", type="LoadBalancer")
    merge = ("patch", "service", "status", "--subresource=status", "--type=merge", "-p")
    ways_in = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    status = {"metadata": {"annotations": {"patched": "true"}}, "status": ways_in}
    assert cluster.lab.kubectl(*merge, json.dumps(status)).returncode == 0
    made = cluster.lab.get("service", "status")
    assert made["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
    assert made["metadata"]["annotations"]["patched"] == "true"
    cluster.until("far", "203.0.113.1:80", BOTH)
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from a test"}
    condition["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    assert cluster.lab.kubectl(*merge, json.dumps({"status": {"conditions": [condition]}})).returncode == 0
    assert cluster.lab.get("service", "status")["status"]["conditions"][0]["reason"] == "E2E"
    cluster.remove("status")


def test_should_work_after_the_service_proxy_and_the_api_server_have_restarted(cluster: Cluster) -> None:
    vip = cluster.service("restart")["spec"]["clusterIP"]
    cluster.until("far", vip, BOTH)
    restart = ("rollout", "restart", "daemonset/clew-agent", "-n", "kube-system")
    assert cluster.lab.kubectl(*restart).returncode == 0
    status = ("rollout", "status", "daemonset/clew-agent", "-n", "kube-system", f"--timeout={60 * SLOWNESS:.0f}s")
    while cluster.lab.kubectl(*status, seconds=70).returncode:
        assert cluster.answers("far", vip, 24, BOTH) == BOTH
    cluster.until("far", vip, BOTH)
    later = cluster.service("later")["spec"]["clusterIP"]
    cluster.until("far", later, BOTH)
    cluster.remove("restart", "later")


def test_the_api_server_proxies_to_services_pods_and_nodes(cluster: Cluster) -> None:
    cluster.service("behind")

    def raw(path: str) -> str:
        return cluster.lab.kubectl("get", "--raw", path).stdout

    eventually(lambda: raw("/api/v1/namespaces/default/services/behind:http/proxy/hostname") in BOTH, 10)
    assert raw("/api/v1/namespaces/default/services/behind/proxy/hostname") == "", "no port of it is without a name"
    assert raw("/api/v1/namespaces/default/services/http:behind:http/proxy/hostname") in BOTH
    assert raw("/api/v1/namespaces/default/services/behind:80/proxy/echo?msg=hello") == "hello"
    assert raw("/api/v1/namespaces/default/pods/one/proxy/hostname") == ""  # port 80, where nobody listens
    assert raw("/api/v1/namespaces/default/pods/one:8080/proxy/hostname") == "one"
    cluster.remove("behind")


def test_should_create_services_and_serve_on_different_service_cidrs(cluster: Cluster, mode: str) -> None:
    """What no service has in such a range is dropped for as long as there is the range, but in mode iptables."""
    silent = "!28" if mode != "iptables" else "!7"

    def nobody(answer: str) -> bool:
        ask = f"{CURL} -s http://10.187.210.14/ || echo !$?"
        return cluster.run("far", ask)[1] == answer

    assert nobody("!7"), "the network beyond knows no such address, and says so"
    body = {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.187.210.0/28"]}}
    cluster.lab.apply(json.dumps({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR"} | body))
    done = cluster.lab.kubectl("wait", "--for=condition=Ready", "servicecidr/more", f"--timeout={10 * SLOWNESS:.0f}s")
    assert done.returncode == 0, done.stderr
    for name, spec in (("second", {"clusterIP": "10.187.210.3"}), ("first", {})):
        vip = cluster.service(name, **spec)["spec"]["clusterIP"]
        cluster.until("far", vip, BOTH)
        listed = cluster.lab.kubectl("get", "ipaddress", vip, "--no-headers").stdout.split()
        assert listed[:2] == [vip, f"services/default/{name}"]
    eventually(lambda: nobody(silent), 10)
    cluster.remove("second", "first", "servicecidr/more")
    eventually(lambda: nobody("!7"), 10)


def test_traffic_distribution_prefers_what_is_close(cluster: Cluster) -> None:
    """KEP-4444 and KEP-3015: the client's zone, or its node, where it has servers."""
    for node, zone in (("node-1", "a"), ("node-2", "b"), ("node-3", "b")):
        cluster.lab.kubectl("label", "node", node, f"topology.kubernetes.io/zone={zone}", "--overwrite")
    for word in ("PreferClose", "PreferSameZone"):
        vip = cluster.service("close", trafficDistribution=word)["spec"]["clusterIP"]
        cluster.until("near", vip, {"one"})
        cluster.until("far", vip, {"two"})
        cluster.remove("close")
    vip = cluster.service("close", trafficDistribution="PreferSameNode")["spec"]["clusterIP"]
    cluster.until("near", vip, {"one"})
    cluster.until("far", vip, {"two"})  # no server on the node: the zone's
    cluster.lab.kubectl("label", "node", "node-3", "topology.kubernetes.io/zone=c", "--overwrite")
    cluster.until("far", vip, BOTH)  # nor in the zone: any
    cluster.remove("close")
    for node in NODES:
        cluster.lab.kubectl("label", "node", node, "topology.kubernetes.io/zone-")


def test_pods_of_one_node_may_share_a_host_port_that_differs_in_address_or_protocol(cluster: Cluster) -> None:
    own = NODES["node-2"]
    for number, (address, protocol, inside) in enumerate(
        [("127.0.0.1", "TCP", 8080), (own, "TCP", 8080), (own, "UDP", 8081)]
    ):
        port = {"containerPort": inside, "hostPort": 54323, "hostIP": address, "protocol": protocol}
        server = {"name": "main", "image": "agnhost", "args": ["netexec"], "ports": [port]}
        body = {"nodeName": "node-2", "terminationGracePeriodSeconds": 1, "containers": [server]}
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"port{number}"}, "spec": body}
        cluster.lab.apply(json.dumps(made))
    for number in range(3):
        cluster.lab.wait(f"port{number}")
    cluster.until("node-2", "127.0.0.1:54323", {"port0"})
    cluster.until("outside", f"{NODES['node-2']}:54323", {"port1"})
    assert cluster.dial("far", "udp", NODES["node-2"], 54323, tries=1)["responses"] == ["port2"]
    cluster.remove("pod/port0", "pod/port1", "pod/port2")
