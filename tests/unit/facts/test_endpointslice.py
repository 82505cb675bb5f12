import json

from clew.facts import endpointslice
from clew.facts.endpointslice import CHANGE_ANNOTATION, EndpointPort

META = {"name": "web-abc", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}}


def test_nulls_are_empty_lists() -> None:
    fact = endpointslice.from_api({"metadata": META, "addressType": "IPv4", "endpoints": None, "ports": None})
    assert fact.endpoints == ()
    assert fact.ports == ()
    assert fact.service_key == ("default", "web")


def test_an_endpoint_without_conditions_is_ready_and_serves() -> None:
    fact = endpointslice.from_api({"metadata": META, "endpoints": [{"addresses": ["10.0.0.1"]}]})
    (endpoint,) = fact.endpoints
    assert (endpoint.ready, endpoint.serving, endpoint.terminating) == (True, True, False)


def test_who_does_not_say_that_it_serves_serves() -> None:
    """The API says so since 1.33, kube-proxy always did: one that ends and is not ready is then a last resort."""
    endpoint = {"addresses": ["::1"], "conditions": {"ready": False, "terminating": True}}
    fact = endpointslice.from_api({"metadata": META, "endpoints": [endpoint]})
    assert (fact.endpoints[0].ready, fact.endpoints[0].serving) == (False, True)


def test_every_field_arrives() -> None:
    fact = endpointslice.from_api({
        "metadata": {**META, "annotations": {CHANGE_ANNOTATION: "2026-01-02T03:04:05Z"}},
        "addressType": "IPv6",
        "endpoints": [{
            "addresses": ["fd00::1", "fd00::2"],
            "conditions": {"ready": False, "serving": True, "terminating": True},
            "nodeName": "node-1",
            "zone": "a",
            "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "node-1"}]},
            "hostname": "web-0",
            "targetRef": {"kind": "Pod", "name": "web-0"},
        }],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}, {"port": None}],
    })  # fmt: skip
    (endpoint,) = fact.endpoints
    assert fact.address_type == "IPv6"
    assert fact.changed == "2026-01-02T03:04:05Z"
    assert endpoint.addresses == ("fd00::1", "fd00::2")
    assert (endpoint.ready, endpoint.serving, endpoint.terminating) == (False, True, True)
    assert (endpoint.node, endpoint.zone, endpoint.hostname, endpoint.target) == ("node-1", "a", "web-0", "web-0")
    assert (endpoint.hint_zones, endpoint.hint_nodes) == (("a",), ("node-1",))
    assert fact.ports == (EndpointPort("http", "TCP", 8080, "http"), EndpointPort("", "TCP", 0, ""))


def test_a_wrong_slice_keeps_its_service_and_says_why() -> None:
    key, fact = endpointslice.decode(json.dumps({"metadata": META, "endpoints": [{"addresses": "10.0.0.1"}]}).encode())
    assert key == ("default", "web-abc")
    assert fact is not None
    assert fact.service == "web"
    assert "endpoints" in fact.malformed
