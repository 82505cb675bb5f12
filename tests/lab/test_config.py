"""A lab from a file, and two labs side by side on a machine: every field arrives, neither is in the other's way."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from .machine import HOME, Machine, machine
from .small_lab import eventually

pytestmark = pytest.mark.root

# the ranges are the other lab's too: each lab is a world of its own
TWO_SITES = """\
apiVersion: clew.dev/v1alpha1
kind: Lab
ipFamily: dual
subnets:
- name: east
  cidr: 172.30.0.0/24,fd00:172:30::/64
- {name: west, cidr: "172.31.0.0/24,fd00:172:31::/64", mtu: 1400}
nodes:
- {name: one, zone: zone-a}
- name: two
  subnet: west
  zone: zone-b
  labels: {disk: ssd}
  taints: [{key: only, value: batch, effect: NoSchedule}]
  maxPods: 7
network: {backend: vxlan, crossSubnet: true}
names: {example.com: [192.0.2.1]}
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with machine() as made:
        made.well("mkdir", "-p", f"{HOME}/.kube")
        made.write("/run/lab.yaml", TWO_SITES)
        made.does("up", "--name", "sites", "--config", "/run/lab.yaml")
        made.does("up", "--name", "plain", "--nodes", "1")
        yield made
        made.does("down", "--all")
        assert made.does("ls") == "none\n"


def nodes(host: Machine, lab: str) -> dict[str, Any]:
    found = json.loads(host.well("kubectl", "--context", f"clew-{lab}", "get", "nodes", "-o", "json"))
    return {each["metadata"]["name"]: each for each in found["items"]}


def test_two_labs_have_a_context_each_and_the_last_is_current(host: Machine) -> None:
    contexts = host.well("kubectl", "config", "get-contexts", "-o", "name").split()
    assert sorted(contexts) == ["clew-plain", "clew-sites"]
    assert host.well("kubectl", "config", "current-context") == "clew-plain\n"
    rows = json.loads(host.does("ls", "-o", "json"))
    assert [(row["name"], row["nodes"], row["family"], row["state"]) for row in rows] == [
        ("plain", 1, "ipv4", "running"),
        ("sites", 2, "dual", "running"),
    ]


def test_nodes_are_what_the_file_says(host: Machine) -> None:
    found = nodes(host, "sites")
    assert set(found) == {"one", "two"}
    assert set(nodes(host, "plain")) == {"node-1"}
    one, two = found["one"], found["two"]
    assert one["metadata"]["labels"]["topology.kubernetes.io/zone"] == "zone-a"
    assert two["metadata"]["labels"]["disk"] == "ssd"
    assert two["spec"]["taints"] == [{"key": "only", "value": "batch", "effect": "NoSchedule"}]
    assert two["status"]["capacity"]["pods"] == "7"
    addresses = [each["address"] for each in two["status"]["addresses"] if each["type"] == "InternalIP"]
    assert addresses == ["172.31.0.11", "fd00:172:31::b"]


def test_subnets_are_links_of_their_own_joined_by_a_router(host: Machine) -> None:
    link = host.does("node", "exec", "--name", "sites", "two", "--", "ip", "link", "show", "eth0")
    assert "mtu 1400" in link
    way = host.does("node", "exec", "--name", "sites", "two", "--", "ip", "route", "get", "172.30.0.11")
    assert "via 172.31.0.1 dev eth0" in way


def test_hosts_know_each_others_names_and_a_commands_options_are_its_own(host: Machine) -> None:
    for words in (("getent", "hosts", "outside"), ("--", "getent", "hosts", "outside")):
        said = host.does("node", "exec", "--name", "sites", "two", *words)
        assert said.split()[1] == "outside", said
    assert host.does("node", "exec", "--name", "sites", "two", "sh", "-c", "echo $0", "--name") == "--name\n"


def test_programs_are_the_nodes_own_else_the_machines(host: Machine) -> None:
    """By `iptables` a node means what its agent uses, whatever the machine's links say: it hid the services' rules."""
    there = ("node", "exec", "--name", "sites", "two")
    assert "(legacy)" in host.does(*there, "iptables", "--version")
    host.well(
        "sh",
        "-c",
        "cp /usr/bin/echo /tmp/program && echo '#!/nowhere/interpreter' >/tmp/script && chmod 755 /tmp/script",
    )
    assert host.does(*there, "/tmp/program", "here") == "here\n", "the node's /tmp is its own"
    refused = host.clew(*there, "/tmp/script")
    assert refused.returncode == 1
    assert "/tmp/script cannot be run in two: No such file" in refused.stderr


def test_the_api_server_is_known_by_each_of_its_addresses(host: Machine) -> None:
    """By the lab's own authority and the very address: loopback, the router in each subnet, the service; 401 after."""
    config = yaml.safe_load(host.does("kubeconfig", "--name", "sites"))
    authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    host.write("/var/lib/clew/sites/nodes/two/srv/ca.crt", authority)
    ask = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", "/srv/ca.crt")
    for address in ("172.30.0.1:6443", "172.31.0.1:6443", "[fd00:172:31::1]:6443", "10.96.0.1:443"):
        said = host.does("node", "exec", "--name", "sites", "two", *ask, f"https://{address}/api")
        assert said == "401", address
    modes = host.well("find", "/var/lib/clew/sites/pki", "-type", "f", "-not", "-perm", "600")
    assert not modes, modes


def test_what_crosses_the_router_travels_in_the_tunnel(host: Machine) -> None:
    """`clew up` has returned, so DNS answers on every node of both families: DNS pods are on one side only."""
    ranges = nodes(host, "sites")["one"]["spec"]["podCIDRs"]
    for cidr in ranges:
        family = "-6" if ":" in cidr else "-4"
        routes = host.does("node", "exec", "--name", "sites", "two", "--", "ip", family, "route", "show", cidr)
        assert "dev vxlan" in routes, routes


def test_the_outside_host_knows_the_files_names_and_refuses_the_rest(host: Machine) -> None:
    ask = ("node", "exec", "--name", "sites", "one", "--", "dig", "+tries=1", "+time=2", "@172.30.0.100")
    assert host.does(*ask, "+short", "example.com").strip() == "192.0.2.1"
    assert "status: REFUSED" in host.does(*ask, "example.org")


def test_an_up_that_asks_for_the_same_resumes_and_one_that_does_not_is_refused(host: Machine) -> None:
    host.does("up", "--name", "sites", "--config", "/run/lab.yaml")
    host.does("up", "--name", "sites")
    other = host.clew("up", "--name", "sites", "--ip-family", "ipv6")
    assert "lab sites is there with other ipFamily" in other.stderr


def test_a_node_that_is_switched_off_stays_off_until_it_is_switched_on(host: Machine) -> None:
    host.does("node", "stop", "--name", "sites", "two")
    said = host.does("status", "--name", "sites")
    assert "clew node start --name sites two" in said
    refused = host.clew("node", "exec", "--name", "sites", "two", "--", "true")
    assert "node two is switched off (try: clew node start --name sites two)" in refused.stderr
    host.well("sh", "-c", "kill -9 $(cat /run/clew/sites/daemon.pid)")
    host.does("up", "--name", "sites")  # ready without it
    assert "clew node start --name sites two" in host.does("status", "--name", "sites")
    host.does("node", "start", "--name", "sites", "two")
    host.does("up", "--name", "sites")  # waits for it
    assert "switched off" not in host.does("status", "--name", "sites")


def test_a_cut_cable_keeps_packets_and_nothing_else(host: Machine) -> None:
    ask = ("node", "exec", "--name", "sites", "two", "--", "dig", "+tries=1", "+time=1", "+short", "@172.30.0.100")
    host.does("node", "cut", "--name", "sites", "two")
    assert "clew node join --name sites two" in host.clew("status", "--name", "sites").stdout
    assert host.clew(*ask, "example.com").returncode != 0
    host.does("node", "join", "--name", "sites", "two")
    eventually(lambda: host.clew(*ask, "example.com").stdout.strip() == "192.0.2.1", what="it is reached again")
    host.does("node", "cut", "--name", "sites", "outside")
    assert "clew node join --name sites outside" in host.clew("status", "--name", "sites").stdout
    host.does("node", "join", "--name", "sites", "outside")


def test_one_lab_goes_and_the_other_stays(host: Machine) -> None:
    host.does("down", "--name", "plain")
    assert host.well("kubectl", "config", "current-context") == "clew-sites\n"
    assert set(nodes(host, "sites")) == {"one", "two"}
    eventually(lambda: host.clew("status", "--name", "sites").returncode == 0, what="all is well")
