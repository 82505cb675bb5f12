"""What is filled in, in full for the kinds that people look at."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.api.kinds import (
    CLUSTER_ROLE_BINDING,
    CRD,
    DAEMON_SET,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    NAMESPACE,
    NODE,
    POD,
    SECRET,
    SERVICE,
)
from clew.api.objects import clone
from clew.cluster.admission import apply_defaults, qos_class

CONTAINER = {
    "name": "a", "image": "nginx", "imagePullPolicy": "Always", "resources": {},
    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
}  # fmt: skip
TEMPLATE_SPEC = {
    "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": 30, "securityContext": {},
}  # fmt: skip


def filled(kind: Any, obj: dict) -> dict[str, Any]:
    made = clone(obj)
    apply_defaults(kind, made)
    again = clone(made)
    apply_defaults(kind, again)
    assert again == made
    return made


def test_a_pod() -> None:
    made = filled(POD, {"spec": {"containers": [{"name": "a", "image": "nginx"}]}})
    assert made["spec"] == {
        **TEMPLATE_SPEC, "containers": [CONTAINER], "enableServiceLinks": True, "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
    }  # fmt: skip


def test_a_deployment() -> None:
    made = filled(DEPLOYMENT, {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "nginx"}]}}}})
    assert made["spec"] == {
        "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "template": {"metadata": {}, "spec": {**TEMPLATE_SPEC, "containers": [CONTAINER]}},
    }  # fmt: skip


def test_zero_replicas_are_no_default() -> None:
    assert filled(DEPLOYMENT, {"spec": {"replicas": 0}})["spec"]["replicas"] == 0


def test_a_daemon_set_and_recreation() -> None:
    strategy = filled(DAEMON_SET, {"spec": {}})["spec"]["updateStrategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    assert filled(DEPLOYMENT, {"spec": {"strategy": {"type": "Recreate"}}})["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1.2", "IfNotPresent"), ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"), ("nginx@sha256:0", "IfNotPresent"), ("a/b/c:latest", "Always"),
    ],
)  # fmt: skip
def test_pull_policies(image: str, policy: str) -> None:
    made = filled(POD, {"spec": {"containers": [{"image": image}]}})
    assert made["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_the_parts_of_a_container() -> None:
    container = {
        "image": "a:1",
        "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}, "requests": {"cpu": "0.5"}},
        "readinessProbe": {"httpGet": {"port": 80}},
        "livenessProbe": {"exec": {"command": ["a"]}, "timeoutSeconds": 5},
    }
    made = filled(POD, {"spec": {"containers": [container]}})["spec"]["containers"][0]
    assert made["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert made["env"][0]["valueFrom"] == {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    assert made["resources"] == {
        "limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"},
    }  # fmt: skip
    times = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    assert made["readinessProbe"] == {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, **times}
    assert made["livenessProbe"] == {"exec": {"command": ["a"]}, **times, "timeoutSeconds": 5}


@pytest.mark.parametrize(
    ("volume", "made"),
    [
        ({}, {"emptyDir": {}}),
        ({"configMap": {"name": "c"}}, {"configMap": {"name": "c", "defaultMode": 420}}),
        ({"secret": {"secretName": "s"}}, {"secret": {"secretName": "s", "defaultMode": 420}}),
        ({"hostPath": {"path": "/x"}}, {"hostPath": {"path": "/x", "type": ""}}),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            {"projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}
            ]}},
        ),
        (
            {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {"downwardAPI": {"defaultMode": 420, "items": [
                {"path": "p", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
            ]}},
        ),
    ],
)  # fmt: skip
def test_volumes(volume: dict, made: dict) -> None:
    assert filled(POD, {"spec": {"volumes": [{"name": "v", **volume}]}})["spec"]["volumes"] == [{"name": "v", **made}]


def test_ports_on_the_nodes_own_network() -> None:
    spec = {"hostNetwork": True, "containers": [{"image": "a", "ports": [{"containerPort": 80}]}]}
    ports = [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    assert filled(POD, {"spec": spec})["spec"]["containers"][0]["ports"] == ports
    template = filled(DAEMON_SET, {"spec": {"template": {"spec": spec}}})["spec"]["template"]
    assert template["spec"]["containers"][0]["ports"] == ports


def test_the_account_is_named_twice() -> None:
    assert filled(POD, {"spec": {"serviceAccountName": "a"}})["spec"]["serviceAccount"] == "a"
    assert filled(POD, {"spec": {"serviceAccount": "a"}})["spec"]["serviceAccountName"] == "a"


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        ({}, {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}),
        (
            {"type": "NodePort"},
            {"type": "NodePort", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
             "externalTrafficPolicy": "Cluster"},
        ),
        (
            {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
            {"type": "LoadBalancer", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
             "externalTrafficPolicy": "Local", "allocateLoadBalancerNodePorts": True},
        ),
        (
            {"type": "ExternalName", "externalName": "a.b"},
            {"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"},
        ),
        (  # a field that is no pointer in Go is not given back where it is empty
            {"type": "ExternalName", "externalName": "a.b", "clusterIP": "", "loadBalancerIP": ""},
            {"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"},
        ),
        (
            {"sessionAffinity": "ClientIP"},
            {"type": "ClusterIP", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Cluster",
             "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}},
        ),
        (
            {"ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}]},
            {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ports": [
                {"port": 80, "protocol": "TCP", "targetPort": 80},
                {"port": 53, "protocol": "UDP", "targetPort": "dns"},
            ]},
        ),
        (
            {"externalIPs": ["192.0.2.1"]},
            {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
             "externalIPs": ["192.0.2.1"], "externalTrafficPolicy": "Cluster"},
        ),
    ],
)  # fmt: skip
def test_services(spec: dict, made: dict) -> None:
    assert filled(SERVICE, {"spec": spec})["spec"] == made


def test_a_load_balancers_address_says_how_it_is_meant() -> None:
    ways_in = [{"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "Proxy"}, {"hostname": "a.example"}]
    made = filled(SERVICE, {"spec": {}, "status": {"loadBalancer": {"ingress": ways_in}}})
    assert made["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}, *ways_in[1:]]


def test_small_kinds() -> None:
    assert filled(ENDPOINT_SLICE, {"ports": [{"port": 1}]}) == {
        "endpoints": [], "ports": [{"name": "", "port": 1, "protocol": "TCP"}],
    }  # fmt: skip
    assert filled(SECRET, {"stringData": {"a": "b"}, "data": {"c": "ZA=="}}) == {
        "type": "Opaque", "data": {"a": "Yg==", "c": "ZA=="},
    }  # fmt: skip
    assert filled(NAMESPACE, {"metadata": {"name": "a"}}) == {
        "metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}},
        "spec": {"finalizers": ["kubernetes"]},
    }
    assert filled(NODE, {"spec": {"podCIDR": "10.0.0.0/24"}})["spec"]["podCIDRs"] == ["10.0.0.0/24"]
    binding = filled(CLUSTER_ROLE_BINDING, {"subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount"}]})
    assert binding["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
    assert "apiGroup" not in binding["subjects"][1]
    names = filled(CRD, {"spec": {"names": {"kind": "Widget", "plural": "widgets"}}})["spec"]["names"]
    assert (names["singular"], names["listKind"]) == ("widget", "WidgetList")
    assert filled(EVENT, {"source": {"component": "kubelet", "host": "n"}})["reportingComponent"] == "kubelet"


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ([{}], "BestEffort"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"example.com/gpu": "1"}}], "BestEffort"),
    ],
)
def test_quality_of_service(resources: list, qos: str) -> None:
    spec = {"containers": [{"name": f"c{index}", "resources": each} for index, each in enumerate(resources)]}
    assert qos_class(filled(POD, {"spec": spec})) == qos


ANNOTATIONS = st.dictionaries(st.text("xyz", min_size=1, max_size=3), st.text("ab", max_size=2), max_size=4)


@given(ANNOTATIONS, ANNOTATIONS)
def test_what_was_given_stays(annotations: dict, selector: dict) -> None:
    """Defaults are only ever added."""
    given_parts = {"metadata": {"annotations": annotations}, "spec": {"selector": selector}}
    made = filled(SERVICE, given_parts)
    assert made["metadata"].get("annotations", {}) == annotations  # an empty map is none, as in Go
    assert made["spec"].get("selector", {}) == selector


def test_fields_that_do_not_exist_are_not_stored() -> None:
    assert "foo" not in filled(SERVICE, {"spec": {"foo": 1}})["spec"]
