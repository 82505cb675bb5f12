import json

import pytest

from clew.facts import service
from clew.facts.service import IngressAddress, ServicePort

MINIMAL = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"clusterIP": "10.96.0.5", "ports": [{"port": 80}]},
}


def test_every_default_is_filled_in() -> None:
    fact = service.from_api(MINIMAL)
    assert fact.key == ("default", "web")
    assert fact.type == "ClusterIP"
    assert fact.cluster_ips == ("10.96.0.5",)
    assert fact.ports == (ServicePort("", "TCP", 80, 0, ""),)
    assert (fact.external_policy, fact.internal_policy) == ("Cluster", "Cluster")
    assert fact.affinity_timeout == 0
    assert not fact.headless
    assert not fact.has_selector


def test_bytes_and_decoded_objects_give_the_same_fact() -> None:
    assert service.from_api(json.dumps(MINIMAL).encode()) == service.from_api(MINIMAL)


def test_every_field_that_matters_to_a_proxy_arrives() -> None:
    fact = service.from_api(
        {
            "metadata": {
                "name": "web",
                "namespace": "shop",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"service.kubernetes.io/service-proxy-name": "other", "service.kubernetes.io/headless": ""},
            },
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": "10.96.0.5",
                "clusterIPs": ["10.96.0.5", "fd00::5"],
                "ports": [{"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053, "appProtocol": "dns"}],
                "externalIPs": ["192.0.2.1"],
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
                "externalTrafficPolicy": "Local",
                "internalTrafficPolicy": "Local",
                "loadBalancerSourceRanges": [" 10.0.0.0/8 "],
                "healthCheckNodePort": 31000,
                "publishNotReadyAddresses": True,
                "trafficDistribution": "PreferSameZone",
                "selector": {"app": "web"},
            },
            "status": {
                "loadBalancer": {
                    "ingress": [{"ip": "192.0.2.2"}, {"ip": "192.0.2.3", "ipMode": "Proxy"}, {"hostname": "x"}]
                }
            },
        }
    )
    assert fact.created == "2026-01-02T03:04:05Z"
    assert fact.cluster_ips == ("10.96.0.5", "fd00::5")
    assert fact.ports == (ServicePort("dns", "UDP", 53, 30053, "dns"),)
    assert fact.ingress == (
        IngressAddress("192.0.2.2", "", "VIP"),
        IngressAddress("192.0.2.3", "", "Proxy"),
        IngressAddress("", "x", "VIP"),
    )
    assert fact.affinity_timeout == 60
    assert (fact.external_policy, fact.internal_policy) == ("Local", "Local")
    assert fact.source_ranges == ("10.0.0.0/8",)
    assert fact.health_check_node_port == 31000
    assert fact.publish_not_ready
    assert fact.traffic_distribution == "PreferSameZone"
    assert fact.proxy_name == "other"
    assert fact.headless_label
    assert fact.has_selector


def test_affinity_without_a_timeout_lasts_three_hours() -> None:
    fact = service.from_api({**MINIMAL, "spec": {"sessionAffinity": "ClientIP"}})
    assert fact.affinity_timeout == 10_800


def test_a_headless_service_has_no_addresses() -> None:
    fact = service.from_api({**MINIMAL, "spec": {"clusterIP": "None", "clusterIPs": ["None"]}})
    assert fact.headless
    assert fact.cluster_ips == ()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ports": [{"port": "eighty"}]}, r"spec.ports"),
        ({"ports": [{"port": 80, "protocol": "QUIC"}]}, "QUIC"),
        ({"externalTrafficPolicy": "Nearby"}, "externalTrafficPolicy"),
    ],
)
def test_a_wrong_object_is_a_fact_that_says_why(spec: object, message: str) -> None:
    data = json.dumps({**MINIMAL, "spec": spec}).encode()
    with pytest.raises(ValueError, match=message):
        service.from_api(data)
    key, fact = service.decode(data)
    assert key == ("default", "web")
    assert fact is not None
    assert message in fact.malformed
