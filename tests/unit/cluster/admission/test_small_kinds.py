import base64
from collections.abc import Callable

import pytest

from clew.api.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    EVENT,
    LEASE,
    NODE,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE_ACCOUNT,
    Kind,
)
from clew.cluster.admission import token_request_errors

RBAC = "rbac.authorization.k8s.io"
KEY = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or"
    " 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)

Refused = Callable[..., list[str]]
TOO_BIG = base64.b64encode(b"x" * ((1 << 20) + 1)).decode()
RULE = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
ROLE_REF = {"kind": "Role", "name": "r"}


@pytest.mark.parametrize(
    ("kind", "obj", "texts"),
    [
        (CONFIG_MAP, {"data": {"a.b_C-1": "x"}}, []),
        (CONFIG_MAP, {"data": {"a b": "x"}}, [f'data[a b]: Invalid value: "a b": {KEY}']),
        (CONFIG_MAP, {"data": {"..": "x"}}, ['data[..]: Invalid value: "..": must not be \'..\'']),
        (
            CONFIG_MAP, {"data": {"a": "x"}, "binaryData": {"a": "eA=="}},
            ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
        ),
        (CONFIG_MAP, {"data": {"a": "x" * ((1 << 20) + 1)}}, [": Too long: may not be more than 1048576 bytes"]),
        (SECRET, {"data": {"a": TOO_BIG}}, ["data: Too long: may not be more than 1048576 bytes"]),
        (SECRET, {"data": {"a": TOO_BIG[:-4]}}, []),
        (
            SECRET, {"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}, ["data[tls.key]: Required value"],
        ),
        (
            SECRET, {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "eA=="}},
            ['data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": invalid character in JSON'],
        ),
        (
            SECRET, {"type": "kubernetes.io/service-account-token"},
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
        (ROLE, {"rules": [RULE]}, []),
        (
            ROLE, {"rules": [{**RULE, "verbs": []}]},
            ["rules[0].verbs: Required value: verbs must contain at least one value"],
        ),
        (
            ROLE, {"rules": [{"verbs": ["get"], "resources": ["pods"]}]},
            ["rules[0].apiGroups: Required value: resource rules must supply at least one api group"],
        ),
        (
            ROLE, {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
            ['rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs'],
        ),
        (CLUSTER_ROLE, {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}, []),
        (ROLE_BINDING, {"roleRef": ROLE_REF, "subjects": [{"kind": "User", "name": "u"}]}, []),
        (ROLE_BINDING, {"roleRef": {"kind": "Role"}}, ["roleRef.name: Required value"]),
        (
            CLUSTER_ROLE_BINDING, {"roleRef": ROLE_REF},
            ['roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"'],
        ),
        (
            ROLE_BINDING, {"roleRef": ROLE_REF, "subjects": [{"kind": "Robot", "name": "u"}]},
            ['subjects[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"'],
        ),
        (
            CLUSTER_ROLE_BINDING,
            {"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "a"}]},
            ["subjects[0].namespace: Required value"],
        ),
        (NODE, {"spec": {"podCIDR": "10.0.0.0/24"}}, []),
        (
            NODE, {"spec": {"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]}},
            [('spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR'
             ' for each IP'
             " family")],
        ),
        (
            NODE, {"spec": {"taints": [{"key": "a", "effect": "Never"}]}},
            [('spec.taints[0].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule",'
             ' "PreferNoSchedule"')],
        ),
        (
            LEASE, {"spec": {"leaseDurationSeconds": 0}},
            ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
        ),
        (
            EVENT, {"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}},
            ['involvedObject.namespace: Invalid value: "b": does not match event.namespace'],
        ),
        (EVENT, {"metadata": {"namespace": "default"}, "involvedObject": {"kind": "Node"}}, []),
        (SERVICE_ACCOUNT, {"imagePullSecrets": [{}]}, ["imagePullSecrets[0].name: Required value"]),
        (
            CONTROLLER_REVISION, {"revision": -1, "data": {"a": 1}},
            ["revision: Invalid value: -1: must be greater than or equal to 0"],
        ),
    ],
)  # fmt: skip
def test_small_kinds(refused: Refused, kind: Kind, obj: dict, texts: list) -> None:
    assert refused(kind, obj) == texts


FROZEN = "field is immutable when `immutable` is set"


@pytest.mark.parametrize(
    ("kind", "old", "new", "texts"),
    [
        (CONFIG_MAP, {"immutable": True, "data": {"a": "1"}}, {"immutable": True, "data": {"a": "1"}}, []),
        (
            CONFIG_MAP, {"immutable": True, "data": {"a": "1"}}, {"data": {"a": "2"}},
            [f"immutable: Forbidden: {FROZEN}", f"data: Forbidden: {FROZEN}"],
        ),
        (SECRET, {"type": "a"}, {"type": "b"}, ['type: Invalid value: "b": field is immutable']),
        (
            NODE, {"spec": {"podCIDR": "10.0.0.0/24"}}, {"spec": {"podCIDR": "10.0.1.0/24"}},
            ['spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'],
        ),
        (NODE, {"spec": {}}, {"spec": {"podCIDR": "10.0.1.0/24"}}, []),
        (
            ROLE_BINDING, {"roleRef": ROLE_REF}, {"roleRef": {"kind": "Role", "name": "other"}},
            [f'roleRef: Invalid value: {{"apiGroup":"{RBAC}","kind":"Role","name":"other"}}: cannot change roleRef'],
        ),
    ],
)  # fmt: skip
def test_what_does_not_change(refused: Refused, kind: Kind, old: dict, new: dict, texts: list) -> None:
    assert refused(kind, new, old) == texts


def test_tokens_last_ten_minutes_at_least() -> None:
    (error,) = token_request_errors({"spec": {"expirationSeconds": 60}})
    assert str(error) == "spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes"
    assert list(token_request_errors({"spec": {"expirationSeconds": 600}})) == []
