"""What a user types, with the real kubectl: rollouts watched, undone and restarted, a node drained."""

from typing import Any

NGINX = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: my-nginx}
spec:
  replicas: 2
  selector: {matchLabels: {run: my-nginx}}
  template:
    metadata: {labels: {run: my-nginx}}
    spec: {containers: [{name: my-nginx, image: nginx, ports: [{containerPort: 80}]}]}
"""


async def test_rollouts(plane: Any) -> None:
    for number in (1, 2):
        await plane.add_node(f"node-{number}")
    await plane.kubectl("apply", "-f", "-", stdin=NGINX)
    said = await plane.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
    assert 'deployment "my-nginx" successfully rolled out' in said
    await plane.kubectl("set", "image", "deployment/my-nginx", "my-nginx=nginx:2")
    await plane.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
    history = await plane.kubectl("rollout", "history", "deployment/my-nginx")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    await plane.kubectl("rollout", "undo", "deployment/my-nginx")
    await plane.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
    images = await plane.kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert set(images.split()) == {"nginx"}
    await plane.kubectl("rollout", "restart", "deployment/my-nginx")
    await plane.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
    await plane.kubectl("wait", "--for=condition=Available", "deployment/my-nginx", "--timeout=60s")
    described = await plane.kubectl("describe", "deployment", "my-nginx")
    assert "2 desired | 2 updated | 2 total | 2 available | 0 unavailable" in described
    assert "ScalingReplicaSet" in described
    await plane.kubectl("expose", "deployment", "my-nginx", "--port=80")
    pods = (await plane.kubectl("get", "pods", "-o", "jsonpath={.items[*].status.podIP}")).split()

    async def listed() -> bool:
        described = await plane.kubectl("describe", "service", "my-nginx")
        line = next(line for line in described.splitlines() if line.startswith("Endpoints:"))
        return set(line.split(None, 1)[1].split(",")) == {f"{ip}:80" for ip in pods} if len(line.split()) > 1 else False

    await plane.until(listed)
    await plane.kubectl("delete", "deployment", "my-nginx", "--cascade=foreground", "--timeout=60s")
    assert "No resources found" in await plane.kubectl("get", "pods")


async def test_daemons(plane: Any) -> None:
    await plane.add_node("node-1")
    daemon = NGINX.replace("kind: Deployment", "kind: DaemonSet").replace("  replicas: 2\n", "")
    await plane.kubectl("apply", "-f", "-", stdin=daemon)
    await plane.kubectl("rollout", "status", "daemonset/my-nginx", "--timeout=60s")
    await plane.kubectl("set", "image", "daemonset/my-nginx", "my-nginx=nginx:2")
    await plane.kubectl("rollout", "status", "daemonset/my-nginx", "--timeout=60s")
    history = await plane.kubectl("rollout", "history", "daemonset/my-nginx")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    await plane.kubectl("rollout", "undo", "daemonset/my-nginx")
    await plane.kubectl("rollout", "status", "daemonset/my-nginx", "--timeout=60s")
    images = await plane.kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert set(images.split()) == {"nginx"}


async def test_a_drained_node_is_left_and_taken_again(plane: Any) -> None:
    for number in (1, 2):
        await plane.add_node(f"node-{number}")
    await plane.kubectl("apply", "-f", "-", stdin=NGINX)
    await plane.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
    await plane.kubectl("drain", "node-1", "--timeout=60s")
    await plane.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
    nodes = await plane.kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")
    assert set(nodes.split()) == {"node-2"}
    await plane.kubectl("uncordon", "node-1")
    await plane.kubectl("scale", "deployment/my-nginx", "--replicas=3")
    await plane.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
    nodes = await plane.kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")
    assert set(nodes.split()) == {"node-1", "node-2"}


async def test_a_namespace_goes_with_all_that_is_in_it(plane: Any) -> None:
    await plane.add_node("node-1")
    await plane.kubectl("create", "namespace", "shop")
    await plane.until(lambda: _has_account(plane))
    await plane.kubectl("apply", "-n", "shop", "-f", "-", stdin=NGINX)
    await plane.kubectl("rollout", "status", "-n", "shop", "deployment/my-nginx", "--timeout=60s")
    await plane.kubectl("delete", "namespace", "shop", "--timeout=60s")
    assert "shop" not in await plane.kubectl("get", "namespaces")


async def _has_account(plane: Any) -> bool:
    return "default" in await plane.kubectl("get", "serviceaccounts", "-n", "shop")
