"""Services over HTTP: whose a node port is, what a write that leaves a field out keeps, what a status may say."""

from typing import Any

import pytest

from clew.cluster.apiserver import service_fields

from .conftest import Raw
from .samples import MERGE, NODE_PORT, PATHS, SERVICE, changed

PATH = PATHS["Service"]
TAKEN = "provided port is already allocated"


def named(base: Any, name: str, **spec: Any) -> Any:
    return {**base, "metadata": {"name": name}, "spec": {**base["spec"], **spec}}


def balanced(name: str, **spec: Any) -> Any:
    return named(SERVICE, name, type="LoadBalancer", **spec)


def test_a_node_port_is_one_services_in_every_protocol(call: Raw) -> None:
    """The real server's pool knows numbers alone. Two services once had 30080, one for TCP and the other for UDP."""
    ports = [{"name": name, "port": 80, "nodePort": 30080, "protocol": name.upper()} for name in ("tcp", "udp")]
    assert call("POST", PATH, named(NODE_PORT, "one", ports=ports)).code == 201, "a service shares with itself"
    refused = call("POST", PATH, named(NODE_PORT, "other", ports=[{**ports[1], "port": 53}]))
    assert refused.code == 422
    assert refused.causes == [("spec.ports[0].nodePort", "FieldValueInvalid", f"Invalid value: 30080: {TAKEN}")]
    checked = balanced("checked", externalTrafficPolicy="Local", healthCheckNodePort=30080)
    assert TAKEN in call("POST", PATH, checked).obj["message"]
    assert call("PUT", f"{PATH}/one", named(NODE_PORT, "one", ports=ports[:1])).code == 200
    assert call("POST", PATH, checked).code == 422, "the other protocol still has it"
    assert call("DELETE", f"{PATH}/one").code == 200
    assert call("POST", PATH, checked).code == 201


def test_a_health_check_is_not_on_a_node_port_of_its_own_service(call: Raw) -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    made = balanced("web", ports=ports, externalTrafficPolicy="Local", healthCheckNodePort=30080)
    assert TAKEN in call("POST", PATH, made).obj["message"]


def test_protocols_of_one_port_share_a_node_port_from_the_beginning(call: Raw) -> None:
    """As kube-apiserver does it: one that comes later gets a node port of its own."""
    both = [{"name": name, "port": 53, "protocol": name.upper()} for name in ("tcp", "udp")]
    made = call("POST", PATH, named(NODE_PORT, "one", ports=both)).obj["spec"]["ports"]
    assert made[0]["nodePort"] == made[1]["nodePort"]
    first = call("POST", PATH, named(NODE_PORT, "two", ports=both[:1])).obj["spec"]["ports"]
    later = call("PATCH", f"{PATH}/two", {"spec": {"ports": [*first, both[1]]}}, MERGE).obj["spec"]["ports"]
    assert later[0] == first[0]
    assert later[1]["nodePort"] != first[0]["nodePort"]


def test_a_port_keeps_its_node_port_by_its_name(call: Raw) -> None:
    """`kubectl replace` with another port number once moved the service to another node port."""
    made = call("POST", PATH, NODE_PORT).obj
    moved = call("PUT", f"{PATH}/web", changed(NODE_PORT, "spec.ports", [{"port": 8080}])).obj
    assert moved["spec"]["ports"][0]["nodePort"] == made["spec"]["ports"][0]["nodePort"]


def test_node_ports_go_where_none_are_wanted_and_none_is_named(call: Raw) -> None:
    made = call("POST", PATH, balanced("web")).obj
    kept = call("PATCH", f"{PATH}/web", {"spec": {"allocateLoadBalancerNodePorts": False}}, MERGE).obj
    assert kept["spec"]["ports"] == made["spec"]["ports"], "they stay until somebody takes them away"
    gone = call("PATCH", f"{PATH}/web", {"spec": {"ports": [{"port": 80}]}}, MERGE).obj
    assert "nodePort" not in gone["spec"]["ports"][0]


def test_the_policy_for_clients_outside_goes_with_the_last_way_in(call: Raw) -> None:
    """A service that lost its externalIPs was refused for a policy that nobody had set."""
    call("POST", PATH, changed(SERVICE, "spec.externalIPs", ["192.0.2.1"]))
    answer = call("PATCH", f"{PATH}/web", {"spec": {"externalIPs": None}}, MERGE)
    assert answer.code == 200, answer.text
    assert "externalTrafficPolicy" not in answer.obj["spec"]


def test_a_type_without_node_ports_may_come_with_fewer_ports(call: Raw) -> None:
    made = call("POST", PATH, named(NODE_PORT, "web", ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2}])).obj
    fewer = named(made, "web", type="ClusterIP", ports=made["spec"]["ports"][:1])
    answer = call("PUT", f"{PATH}/web", fewer)
    assert answer.code == 200, answer.text
    assert "nodePort" not in answer.obj["spec"]["ports"][0]


def test_the_health_checks_port_lasts(call: Raw) -> None:
    call("POST", PATH, balanced("web", externalTrafficPolicy="Local"))
    refused = call("PATCH", f"{PATH}/web", {"spec": {"healthCheckNodePort": 30999}}, MERGE)
    assert refused.causes == [("spec.healthCheckNodePort", "FieldValueForbidden", "Forbidden: field is immutable")]


@pytest.mark.parametrize(
    ("way_in", "said"),
    [
        ({"ip": "here"}, 'ingress[0].ip: Invalid value: "here": must be a valid IP address'),
        (
            {"ip": "192.0.2.1", "ipMode": "Far"},
            'ingress[0].ipMode: Unsupported value: "Far": supported values: "Proxy"',
        ),
        ({"hostname": "a.b", "ipMode": "VIP"}, "ingress[0].ipMode: Forbidden: may not be specified when `ip` is not"),
        ({"hostname": "A_b"}, 'ingress[0].hostname: Invalid value: "A_b": a lowercase RFC 1123 subdomain'),
        ({"hostname": "192.0.2.1"}, "must be a DNS name, not an IP address"),
    ],
)
def test_a_status_that_says_no_way_in_is_refused(call: Raw, way_in: Any, said: str) -> None:
    call("POST", PATH, balanced("web"))
    refused = call("PATCH", f"{PATH}/web/status", {"status": {"loadBalancer": {"ingress": [way_in]}}}, MERGE)
    assert refused.code == 422, refused.text
    assert said in refused.obj["message"]
    good = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    told = call("PATCH", f"{PATH}/web/status", good, MERGE).obj
    assert told["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]


def test_only_load_balancers_have_ways_in(call: Raw) -> None:
    call("POST", PATH, SERVICE)
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    refused = call("PATCH", f"{PATH}/web/status", status, MERGE)
    assert refused.code == 422
    assert 'may only be used when `spec.type` is "LoadBalancer"' in refused.obj["message"]


def test_fields_that_act_on_nothing_are_warned_of(call: Raw) -> None:
    headless = {"clusterIP": "None", "sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.1", "2001:DB8::0:1"]}
    told = call("POST", PATH, {**SERVICE, "spec": {**SERVICE["spec"], **headless}}).warnings
    assert told == [
        "spec.externalIPs is ignored for headless services",
        "spec.SessionAffinity is ignored for headless services",
        'spec.externalIPs[1]: IPv6 address "2001:DB8::0:1" should be in RFC 5952 canonical format ("2001:db8::1")',
    ]
    close = {"trafficDistribution": "PreferClose", "externalIPs": None, "sessionAffinity": None}
    assert call("PATCH", f"{PATH}/web", {"spec": close}, MERGE).warnings == [
        'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'
    ]
    ranged = call("POST", PATH, balanced("ranged", loadBalancerSourceRanges=["10.1.2.3/8", " 10.0.0.0/8"],
                                       loadBalancerIP="2001:DB8::1"))  # fmt: skip
    ambiguous = 'CIDR value "10.1.2.3/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.2.3/32"?)'
    assert ranged.warnings == [
        'spec.loadBalancerIP: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")',
        f"spec.loadBalancerSourceRanges[0]: {ambiguous}",
    ]


def test_who_prefers_two_families_gets_the_second_when_asking() -> None:
    """A Service from before the cluster had two families got the second one with the next label it was given."""
    spec: Any = {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"],
                 "ipFamilyPolicy": "PreferDualStack"}  # fmt: skip
    assert service_fields.complete_families(spec, {**spec}, ["IPv4", "IPv6"]) == []
    assert spec["ipFamilies"] == ["IPv4"]
    assert service_fields.complete_families(spec, {**spec, "ipFamilyPolicy": "SingleStack"}, ["IPv4", "IPv6"]) == []
    assert spec["ipFamilies"] == ["IPv4", "IPv6"]


def test_a_client_that_knows_one_address_keeps_both() -> None:
    before = {
        "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"], "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "RequireDualStack",
    }  # fmt: skip
    spec: Any = {"clusterIP": "10.96.0.9"}
    service_fields.inherit({"spec": spec}, {"spec": before})
    assert spec["clusterIPs"] == before["clusterIPs"]
