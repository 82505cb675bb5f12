"""The real kubectl against the server: what its users type, and what it tells them."""

import json
import subprocess
from collections.abc import Callable

Kubectl = Callable[..., subprocess.CompletedProcess[str]]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
"""


def test_apply_changes_and_leaves_alone(kubectl: Kubectl) -> None:
    assert "deployment.apps/web created" in kubectl("apply", "-f", "-", stdin=DEPLOYMENT).stdout
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=DEPLOYMENT).stdout
    changed = DEPLOYMENT.replace("replicas: 2", "replicas: 3").replace("image: nginx", "image: nginx:2")
    assert "configured" in kubectl("apply", "-f", "-", stdin=changed).stdout
    spec = json.loads(kubectl("get", "deploy", "web", "-o", "json").stdout)["spec"]
    assert spec["replicas"] == 3
    assert spec["template"]["spec"]["containers"][0]["image"] == "nginx:2"
    assert kubectl("diff", "-f", "-", stdin=DEPLOYMENT, check=False).returncode == 1


def test_typed_creation_comes_as_protobuf(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "shop")
    kubectl("create", "deployment", "web", "--image=nginx", "--replicas=2", "--port=80", "-n", "shop")
    kubectl("create", "service", "clusterip", "web", "--tcp=80:8080", "-n", "shop")
    kubectl("create", "configmap", "conf", "--from-literal=a=b", "-n", "shop")
    kubectl("create", "secret", "generic", "key", "--from-literal=a=b", "-n", "shop")
    kubectl("create", "serviceaccount", "bob", "-n", "shop")
    kubectl("create", "role", "r", "--verb=get", "--resource=pods", "-n", "shop")
    kubectl("create", "rolebinding", "rb", "--role=r", "--serviceaccount=shop:bob", "-n", "shop")
    assert kubectl("get", "deploy", "web", "-n", "shop", "-o", "jsonpath={.spec.replicas}").stdout == "2"
    assert kubectl("get", "svc", "web", "-n", "shop", "-o", "jsonpath={.spec.ports[0].targetPort}").stdout == "8080"
    assert kubectl("get", "secret", "key", "-n", "shop", "-o", "jsonpath={.data.a}").stdout == "Yg=="
    assert "yes" in kubectl("auth", "can-i", "get", "pods", "-n", "shop", "--as=system:serviceaccount:shop:bob").stdout
    assert (
        "no"
        in kubectl(
            "auth", "can-i", "delete", "pods", "-n", "shop", "--as=system:serviceaccount:shop:bob", check=False
        ).stdout
    )
    assert kubectl("create", "token", "bob", "-n", "shop").stdout.count(".") == 2
    assert "admin" in kubectl("auth", "whoami").stdout


def test_three_patches_and_their_kin(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl(
        "patch", "deploy", "web", "-p", '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"a"}]}}}}'
    )
    kubectl("patch", "deploy", "web", "--type=merge", "-p", '{"spec":{"replicas":5}}')
    kubectl("patch", "deploy", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":6}]')
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}").stdout == "6"
    kubectl("scale", "deploy", "web", "--replicas=1")
    kubectl("set", "image", "deploy/web", "web=nginx:3")
    kubectl("label", "deploy", "web", "tier=front")
    kubectl("annotate", "deploy", "web", "note=x")
    kubectl("rollout", "restart", "deploy/web")
    found = json.loads(kubectl("get", "deploy", "-l", "tier=front", "-o", "json").stdout)["items"]
    assert [each["spec"]["replicas"] for each in found] == [1]
    assert found[0]["metadata"]["annotations"]["note"] == "x"
    assert found[0]["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:3"


def test_dry_run_stores_nothing(kubectl: Kubectl) -> None:
    kubectl("apply", "--dry-run=server", "-f", "-", stdin=DEPLOYMENT + "---" + SERVICE)
    assert "NotFound" in kubectl("get", "deploy", "web", check=False).stderr


def test_services_get_addresses_and_give_them_back(kubectl: Kubectl) -> None:
    assert kubectl("get", "svc", "kubernetes", "-o", "jsonpath={.spec.clusterIP}").stdout == "10.96.0.1"
    kubectl("apply", "-f", "-", stdin=SERVICE)
    first = kubectl("get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}").stdout
    assert first.startswith("10.96.")
    wanted = SERVICE.replace("name: web}", "name: other}").replace("{selector", f"{{clusterIP: {first}, selector")
    assert "provided IP is already allocated" in kubectl("apply", "-f", "-", stdin=wanted, check=False).stderr
    kubectl("delete", "svc", "web")
    kubectl("apply", "-f", "-", stdin=wanted)
    described = kubectl("describe", "svc", "other").stdout
    for line in ("Type:", "ClusterIP", "IP Family Policy:", "SingleStack", "Session Affinity:", "None"):
        assert line in described


def test_tables_have_kubectls_columns(kubectl: Kubectl) -> None:
    kubectl("run", "one", "--image=nginx", check=False)
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT + "---" + SERVICE)
    assert kubectl("get", "deploy").stdout.split("\n")[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    wide = kubectl("get", "svc", "-o", "wide").stdout.split("\n")[0].split()
    assert wide == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"]
    assert "Active" in kubectl("get", "ns", "kube-system").stdout
    assert "kubernetes" in kubectl("get", "svc,endpoints,endpointslices", "-A").stdout
    assert "replicas" in kubectl("explain", "deployment.spec").stdout
    assert "deployments" in kubectl("api-resources").stdout
