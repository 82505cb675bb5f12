"""Who may do what: roles and bindings over HTTP, nobody grants more than they have, reviews that say so beforehand."""

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import Raw, Running
from .samples import CONFIG, CORE, PATHS

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
ROLES, BINDINGS = f"{RBAC}/namespaces/default/roles", f"{RBAC}/namespaces/default/rolebindings"
REVIEWS = "/apis/authorization.k8s.io/v1"
READ_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


def role(name: str, *rules: dict, **more: Any) -> dict:
    return {"metadata": {"name": name}, "rules": list(rules), **more}


def binding(name: str, user: str, kind: str = "Role") -> dict:
    return {
        "metadata": {"name": f"{name}-{user}"}, "roleRef": {"apiGroup": GROUP, "kind": kind, "name": name},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": user}],
    }  # fmt: skip


@pytest.fixture
def eve(running: Running, call: Raw) -> Iterator[Raw]:
    """She may read pods and write roles and bindings in default, and nothing else."""
    writes = {"apiGroups": [GROUP], "resources": ["roles", "rolebindings"], "verbs": ["create", "update", "patch"]}
    assert call("POST", ROLES, role("eves", READ_PODS, writes)).code == 201
    assert call("POST", BINDINGS, binding("eves", "eve")).code == 201
    raw = Raw(running, "eve", ("dev",))
    yield raw
    raw.close()


def test_rights_hold_where_they_are_given(eve: Raw) -> None:
    assert eve("GET", f"{CORE}/pods").code == 200
    elsewhere = eve("GET", "/api/v1/namespaces/kube-system/pods")
    assert (elsewhere.code, elsewhere.obj["message"]) == (
        403,
        ('pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "kube-system"'),
    )  # fmt: skip
    assert elsewhere.obj["details"] == {"kind": "pods"}
    everywhere = eve("GET", "/api/v1/pods")
    assert everywhere.obj["message"].endswith('cannot list resource "pods" in API group "" at the cluster scope')
    logs = eve("GET", f"{CORE}/pods/p/log")
    assert 'pods "p" is forbidden: User "eve" cannot get resource "pods/log"' in logs.obj["message"]
    assert (
        eve("DELETE", f"{CORE}/pods")
        .obj["message"]
        .startswith('pods is forbidden: User "eve" cannot deletecollection resource "pods"')
    )
    assert eve("GET", f"{CORE}/pods?watch=1").obj["message"].startswith('pods is forbidden: User "eve" cannot watch')
    path = eve("GET", "/metrics-of-a-kind")
    assert path.obj["message"] == 'forbidden: User "eve" cannot get path "/metrics-of-a-kind"'
    for known in ("/version", "/api", "/apis/apps/v1", "/openapi/v3", "/healthz"):
        assert eve("GET", known).code == 200


def test_rights_come_and_go_at_once(call: Raw, eve: Raw) -> None:
    assert call("DELETE", f"{BINDINGS}/eves-eve").code == 200
    assert eve("GET", f"{CORE}/pods").code == 403
    call("POST", BINDINGS, binding("view", "eve", "ClusterRole"))
    assert eve("GET", f"{CORE}/services").code == 200
    assert eve("GET", f"{CORE}/secrets").code == 403


def test_nobody_grants_what_they_do_not_hold(call: Raw, eve: Raw) -> None:
    assert eve("POST", ROLES, role("same", READ_PODS)).code == 201
    more = role("more", READ_PODS | {"verbs": ["get", "delete"]}, READ_PODS | {"resources": ["secrets"]})
    refused = eve("POST", ROLES, more)
    assert (refused.code, refused.obj["message"]) == (
        403,
        ('roles.rbac.authorization.k8s.io "more" is forbidden: user "eve" (groups=["dev" "system:authenticated"]) is'
         ' attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["pods"],'
         ' Verbs:["delete"]}\n{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'),
    )  # fmt: skip
    widened = eve("PATCH", f"{ROLES}/same", {"rules": [READ_PODS | {"verbs": ["*"]}]}, "application/merge-patch+json")
    assert widened.code == 403
    bound = eve("POST", BINDINGS, binding("cluster-admin", "eve", "ClusterRole"))
    assert bound.code == 403
    assert "not currently held" in bound.obj["message"]
    assert eve("POST", BINDINGS, binding("same", "bob")).code == 201
    nothing = eve("POST", BINDINGS, binding("nothing", "bob"))
    assert (nothing.code, nothing.obj["message"]) == (404, 'roles.rbac.authorization.k8s.io "nothing" not found')
    call("POST", ROLES, role("more", *more["rules"]))
    bind = {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["bind"], "resourceNames": ["more"]}
    call("POST", ROLES, role("binder", bind))
    call("POST", BINDINGS, binding("binder", "eve"))
    assert eve("POST", BINDINGS, binding("more", "bob")).code == 201  # she may bind this one
    escalate = {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["escalate"]}
    call("POST", ROLES, role("escalator", escalate))
    call("POST", BINDINGS, binding("escalator", "eve"))
    assert eve("PATCH", f"{ROLES}/same", {"rules": more["rules"]}, "application/merge-patch+json").code == 200


def test_a_binding_refers_to_one_role_for_ever(call: Raw, eve: Raw) -> None:  # noqa: ARG001 - eve's binding
    changed = call("GET", f"{BINDINGS}/eves-eve").obj
    changed["roleRef"]["name"] = "other"
    refused = call("PUT", f"{BINDINGS}/eves-eve", changed)
    assert refused.causes == [
        ("roleRef", "FieldValueInvalid", (
            'Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"other"}: cannot change'
            " roleRef")),
    ]  # fmt: skip


def test_gathered_roles_follow_their_parts(call: Raw, eve: Raw) -> None:
    call("POST", BINDINGS, binding("view", "eve", "ClusterRole"))
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    assert eve("GET", widgets).code == 403
    part = role("see-widgets", {"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["list"]})
    part["metadata"]["labels"] = {f"{GROUP}/aggregate-to-view": "true"}
    call("POST", f"{RBAC}/clusterroles", part)
    assert eve("GET", widgets).code == 404  # permitted, and not there


def review(call: Raw, kind: str, **spec: Any) -> Any:
    answer = call("POST", f"{REVIEWS}/{kind}", {"spec": spec})
    assert answer.code == 201, answer.text
    return answer.obj["status"]


def test_reviews(call: Raw, eve: Raw) -> None:
    pods = {"namespace": "default", "verb": "list", "resource": "pods"}
    assert review(eve, "selfsubjectaccessreviews", resourceAttributes=pods) == {
        "allowed": True, "reason": "RBAC: allowed",
    }  # fmt: skip
    secrets = {**pods, "resource": "secrets"}
    assert review(eve, "selfsubjectaccessreviews", resourceAttributes=secrets) == {"allowed": False}
    assert review(eve, "selfsubjectaccessreviews", nonResourceAttributes={"path": "/version", "verb": "get"})["allowed"]
    assert review(call, "subjectaccessreviews", user="eve", resourceAttributes=pods)["allowed"]
    assert not review(call, "subjectaccessreviews", groups=["dev"], resourceAttributes=pods)["allowed"]
    rules = review(eve, "selfsubjectrulesreviews", namespace="default")
    assert {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]} in rules["resourceRules"]
    assert rules["incomplete"] is False
    local = f"{REVIEWS}/namespaces/default/localsubjectaccessreviews"
    assert call("POST", local, {"spec": {"user": "eve", "resourceAttributes": pods}}).obj["status"]["allowed"]
    neither = eve("POST", f"{REVIEWS}/selfsubjectaccessreviews", {"spec": {}})
    assert (neither.code, neither.obj["reason"]) == (422, "Invalid")
    assert "exactly one of nonResourceAttributes or resourceAttributes must be specified" in neither.obj["message"]
    nobody = call("POST", f"{REVIEWS}/subjectaccessreviews", {"spec": {"resourceAttributes": pods}})
    assert "at least one of user or group must be specified" in nobody.obj["message"]


def test_acting_as_somebody_else(call: Raw, eve: Raw) -> None:
    assert call("GET", f"{CORE}/pods", Impersonate_User="eve").code == 200
    assert call("GET", f"{CORE}/secrets", Impersonate_User="eve").code == 403
    refused = eve("GET", f"{CORE}/pods", Impersonate_User="admin")
    assert refused.obj["message"] == (
        'users "admin" is forbidden: User "eve" cannot impersonate resource "users" in API group "" at the cluster'
        " scope"
    )
    account = call("GET", f"{CORE}/pods", Impersonate_User="system:serviceaccount:default:default")
    assert 'User "system:serviceaccount:default:default" cannot list resource "pods"' in account.obj["message"]
    masters = call("GET", f"{CORE}/pods", Impersonate_User="bob", Impersonate_Group="system:masters")
    assert masters.code == 200
    assert call("GET", f"{CORE}/pods", Impersonate_Group="x").code == 400
    who = call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, Impersonate_User="bob")
    assert who.obj["status"]["userInfo"] == {"username": "bob", "groups": ["system:authenticated"]}


def test_a_default_account_reads_discovery_and_nothing_else(running: Running, call: Raw) -> None:
    call("POST", f"{CORE}/serviceaccounts", {"metadata": {"name": "default"}})
    token = call("POST", f"{CORE}/serviceaccounts/default/token", {}).obj["status"]["token"]
    raw = Raw(running, token=token)
    assert raw("GET", "/apis").code == 200
    assert raw("POST", f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}).code == 201
    for path in ("pods", "configmaps", "secrets", "services"):
        assert raw("GET", f"{CORE}/{path}").code == 403
    assert raw("POST", PATHS["ConfigMap"], CONFIG).code == 403
    raw.close()


def test_kubectl_auth(kubectl: Kubectl, running: Running) -> None:
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,services")
    kubectl("create", "rolebinding", "reader", "--role=reader", "--user=eve")
    assert kubectl("auth", "can-i", "list", "pods", "--as=eve").stdout.strip() == "yes"
    assert kubectl("auth", "can-i", "list", "secrets", "--as=eve", check=False).stdout.strip() == "no"
    listed = kubectl("auth", "can-i", "--list", "--as=eve").stdout
    assert "pods" in listed
    assert "selfsubjectaccessreviews.authorization.k8s.io" in listed
    who = kubectl("auth", "whoami").stdout
    assert "admin" in who
    assert "system:masters" in who
    kubectl(
        "auth",
        "reconcile",
        "-f",
        "-",
        stdin=f"""
apiVersion: {GROUP}/v1
kind: Role
metadata: {{name: reader, namespace: default}}
rules: [{{apiGroups: [""], resources: [configmaps], verbs: [get]}}]
""",
    )
    assert kubectl("auth", "can-i", "get", "configmaps", "--as=eve").stdout.strip() == "yes"
    refused = kubectl("get", "pods", "--as=mallory", check=False)
    assert refused.stderr.strip() == (
        'Error from server (Forbidden): pods is forbidden: User "mallory" cannot list resource "pods" in API group ""'
        ' in the namespace "default"'
    )
    assert running.port
