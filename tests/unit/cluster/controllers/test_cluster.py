"""Services, namespaces, nodes and garbage against the real API server."""

import itertools
from typing import Any

import pytest

from clew.api.conditions import condition
from clew.api.kinds import (
    CONFIG_MAP,
    CRD,
    ENDPOINT_SLICE,
    ENDPOINTS,
    EVENT,
    LEASE,
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)  # fmt: skip
from clew.api.objects import Object, dig, labels, name_of
from clew.cluster.controllers import ControllerOptions
from clew.cluster.controllers.endpoints.topology_hints import OVERLOADED
from clew.watch.errors import ApiError

WIDGET = Kind("example.com", "v1", "Widget", "widgets", True)


def pod(name: str, run: str = "web", **spec: Any) -> Object:
    containers = [{"name": "c", "image": "nginx", "ports": [{"name": "http", "containerPort": 80}]}]
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"run": run}},
        "spec": {"containers": containers, **spec},
    }  # fmt: skip


def service(name: str = "web", **spec: Any) -> Object:
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"run": name}, "ports": [{"port": 80, "targetPort": "http"}], **spec},
    }  # fmt: skip


def widget(name: str, **meta: Any) -> Object:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name, "namespace": "default", **meta},
    }


CUSTOM = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}],
    },
}  # fmt: skip


async def test_slices_and_endpoints_follow_the_pods(plane: Any) -> None:
    await plane.add_node("node-1", labels={"topology.kubernetes.io/zone": "a"})
    await plane.admin.create(SERVICE, service())
    mine = {"labels": "kubernetes.io/service-name=web"}
    await plane.until_list(ENDPOINT_SLICE, "default", lambda found: len(found) == 1, **mine)
    await plane.admin.create(POD, pod("web-1"))
    await plane.admin.create(POD, pod("web-2"))

    def both(found: list[Object]) -> bool:
        endpoints = found[0].get("endpoints") or [] if found else []
        return len(found) == 1 and [each["conditions"]["ready"] for each in endpoints] == [True, True]

    (piece,) = await plane.until_list(ENDPOINT_SLICE, "default", both, **mine)
    assert piece["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
    assert piece["addressType"] == "IPv4"
    assert labels(piece)["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    assert piece["metadata"]["ownerReferences"][0]["kind"] == "Service"
    first = piece["endpoints"][0]
    assert first["nodeName"] == "node-1"
    assert first["zone"] == "a"
    assert first["targetRef"]["kind"] == "Pod"

    async def subset() -> Any:
        found = await plane.admin.get(ENDPOINTS, "web", "default")
        subsets = found.get("subsets") or [{}]
        return found if len(subsets[0].get("addresses") or []) == 2 else None

    subsets = (await plane.until(subset))["subsets"]
    assert subsets[0]["ports"] == [{"port": 80, "protocol": "TCP"}]
    await plane.admin.delete(POD, "web-1", "default")
    await plane.until_list(ENDPOINT_SLICE, "default", lambda found: len(found[0].get("endpoints") or []) == 1, **mine)
    await plane.admin.delete(SERVICE, "web", "default")
    await plane.until_list(ENDPOINT_SLICE, "default", lambda found: not found, **mine)
    await plane.until_list(ENDPOINTS, "default", lambda found: [name_of(each) for each in found] == ["kubernetes"])


async def test_a_node_that_appears_brings_its_pods(plane: Any) -> None:
    await plane.add_node("node-1")
    await plane.admin.create(SERVICE, service())
    for number in (1, 2):
        await plane.admin.create(POD, pod(f"web-{number}", nodeName=f"node-{number}"))
    await plane.until_list(POD, "default", lambda found: all(dig(each, "status", "podIP") for each in found))

    def nodes(found: list[Object]) -> list[str]:
        return sorted(each["nodeName"] for piece in found for each in piece.get("endpoints") or ())

    mine = {"labels": "kubernetes.io/service-name=web"}
    await plane.until_list(ENDPOINT_SLICE, "default", lambda found: nodes(found) == ["node-1"], **mine)
    await plane.add_node("node-2", labels={"topology.kubernetes.io/zone": "a"})
    await plane.until_list(ENDPOINT_SLICE, "default", lambda found: nodes(found) == ["node-1", "node-2"], **mine)


async def test_a_node_that_goes_takes_no_endpoints_along(plane: Any) -> None:
    """Its pods may run on, and its kubelet come back; but what is looked at anew goes by the nodes that there are."""
    await plane.admin.create(SERVICE, service())
    await plane.admin.create(SERVICE, service("other"))
    for run in ("web", "other"):
        await plane.admin.create(POD, pod(f"{run}-1", run, nodeName="node-1"))
    looks = itertools.count()

    async def nodes(name: str) -> list[str]:
        pieces = (await plane.admin.list(ENDPOINT_SLICE, "default", labels=f"kubernetes.io/service-name={name}")).items
        return [each["nodeName"] for piece in pieces for each in piece.get("endpoints") or ()]

    async def look() -> list[str]:
        text = f"{next(looks)}"
        await plane.admin.patch(SERVICE, "web", {"metadata": {"labels": {"look": text}}}, "default")
        await plane.until_list(ENDPOINT_SLICE, "default", lambda found: found, labels=f"look={text}")
        return await nodes("web")

    async def is_kept() -> bool:
        """Again where the other service was just being looked at for its own sake."""
        await plane.add_node("node-1", labels={"topology.kubernetes.io/zone": "a"})

        async def is_there() -> bool:
            return (await nodes("other"), await look()) == (["node-1"], ["node-1"])

        async def is_gone() -> bool:
            return await look() == []

        await plane.until(is_there)
        await plane.admin.delete(NODE, "node-1")
        await plane.until(is_gone)
        for _ in range(5):  # each takes longer than a look at the other would
            await look()
        return bool(await nodes("other") == ["node-1"])

    await plane.until(is_kept)


async def test_hints_for_zones_come_and_go_and_are_told(plane: Any) -> None:
    for number, zone in enumerate("ab", 1):
        await plane.add_node(f"node-{number}", labels={"topology.kubernetes.io/zone": zone})
    asking = service()
    asking["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": "Auto"}
    for number in (1, 2):
        await plane.admin.create(POD, pod(f"web-{number}", nodeName=f"node-{number}"))
    await plane.admin.create(SERVICE, asking)

    def zones(found: list[Object]) -> list[list[str]]:
        endpoints = [each for piece in found for each in piece.get("endpoints") or ()]
        return sorted([zone["name"] for zone in (each.get("hints") or {}).get("forZones", ())] for each in endpoints)

    mine = {"labels": "kubernetes.io/service-name=web"}
    await plane.until_list(ENDPOINT_SLICE, "default", lambda found: zones(found) == [["a"], ["b"]], **mine)
    await plane.admin.create(POD, pod("web-3", nodeName="node-1"))
    await plane.until_list(ENDPOINT_SLICE, "default", lambda found: zones(found) == [[], [], []], **mine)
    await plane.admin.delete(POD, "web-3", "default")
    await plane.until_list(ENDPOINT_SLICE, "default", lambda found: zones(found) == [["a"], ["b"]], **mine)
    without: Object = {"metadata": {"annotations": {"service.kubernetes.io/topology-mode": None}}}
    await plane.admin.patch(SERVICE, "web", without, "default")
    await plane.until_list(ENDPOINT_SLICE, "default", lambda found: zones(found) == [[], []], **mine)

    def told(found: list[Object]) -> set[str]:
        about = (each for each in found if each["involvedObject"]["kind"] == "Service")
        return {f"{each['type']} {each['reason']}: {each['message']}" for each in about}

    expected = {
        "Normal TopologyAwareHintsEnabled: Topology Aware Hints has been enabled, addressType: IPv4",
        "Warning TopologyAwareHintsDisabled: Topology Aware Hints has been disabled, addressType: IPv4",
        f"Warning TopologyAwareHintsDisabled: {OVERLOADED} (3 endpoints, 2 zones), addressType: IPv4",
    }
    await plane.until_list(EVENT, "default", lambda found: told(found) >= expected)


async def test_endpoints_written_by_hand_are_mirrored(plane: Any) -> None:
    await plane.admin.create(SERVICE, service("ext", selector=None, ports=[{"port": 80}]))
    hand = {
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "ext", "namespace": "default"},
        "subsets": [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 8080}]}],
    }  # fmt: skip
    await plane.admin.create(ENDPOINTS, hand)
    mine = {"labels": "kubernetes.io/service-name=ext"}
    (piece,) = await plane.until_list(ENDPOINT_SLICE, "default", lambda found: len(found) == 1, **mine)
    assert piece["endpoints"][0]["addresses"] == ["192.0.2.7"]
    assert labels(piece)["endpointslice.kubernetes.io/managed-by"] == "endpointslicemirroring-controller.k8s.io"
    await plane.admin.delete(ENDPOINTS, "ext", "default")
    await plane.until_list(ENDPOINT_SLICE, "default", lambda found: not found, **mine)
    await plane.admin.create(ENDPOINTS, hand)
    await plane.until_list(ENDPOINT_SLICE, "default", lambda found: len(found) == 1, **mine)
    await plane.admin.delete(SERVICE, "ext", "default")
    await plane.until_list(ENDPOINTS, "default", lambda found: [name_of(each) for each in found] == ["kubernetes"])


async def test_every_namespace_has_its_account_and_authority_and_can_be_deleted(plane: Any) -> None:
    await plane.add_node("node-1")
    await plane.admin.create(CRD, CUSTOM)
    await plane.admin.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    await plane.until_list(SERVICE_ACCOUNT, "shop", lambda found: [name_of(each) for each in found] == ["default"])
    maps = await plane.until_list(CONFIG_MAP, "shop", lambda found: len(found) == 1)
    assert maps[0]["data"]["ca.crt"].startswith("-----BEGIN")
    await plane.admin.delete(CONFIG_MAP, "kube-root-ca.crt", "shop")
    await plane.until_list(CONFIG_MAP, "shop", lambda found: len(found) == 1)

    async def served() -> Any:
        made = widget("held", finalizers=["example.com/hold"])
        made["metadata"]["namespace"] = "shop"
        try:
            return await plane.admin.create(WIDGET, made)
        except ApiError as error:
            if not error.not_found:
                raise
            return None

    await plane.until(served)
    standing = pod("p")
    standing["metadata"]["namespace"] = "shop"
    await plane.admin.create(POD, standing)
    await plane.admin.delete(NAMESPACE, "shop")

    async def held_up() -> Any:
        found = condition(await plane.admin.get(NAMESPACE, "shop"), "NamespaceFinalizersRemaining")
        return found if found and found["status"] == "True" else None

    assert "example.com/hold in 1 resource instances" in (await plane.until(held_up))["message"]
    await plane.admin.patch(WIDGET, "held", {"metadata": {"finalizers": None}}, "shop")

    async def gone() -> bool:
        return "shop" not in [name_of(each) for each in (await plane.admin.list(NAMESPACE)).items]

    await plane.until(gone)
    assert not (await plane.admin.list(POD, "shop")).items


async def test_custom_resources_are_collected_like_others(plane: Any) -> None:
    await plane.admin.create(CRD, CUSTOM)

    async def made() -> Any:
        try:
            return await plane.admin.create(WIDGET, widget("owner"))
        except ApiError as error:
            if not error.not_found:
                raise
            return None

    owner = await plane.until(made)
    reference = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "owner", "uid": owner["metadata"]["uid"]}
    await plane.admin.create(WIDGET, widget("child", ownerReferences=[reference]))
    data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "data", "namespace": "default"}}
    data["metadata"]["ownerReferences"] = [reference]  # type: ignore[index]  # a dict
    await plane.admin.create(CONFIG_MAP, data)
    stranger = {**reference, "uid": "11111111-2222-3333-4444-555555555555"}
    await plane.admin.create(WIDGET, widget("never-had-one", ownerReferences=[stranger]))
    await plane.until_list(WIDGET, "default", lambda found: {name_of(each) for each in found} == {"owner", "child"})
    await plane.admin.delete(WIDGET, "owner", "default")
    await plane.until_list(WIDGET, "default", lambda found: not found)
    await plane.until_list(CONFIG_MAP, "default", lambda found: "data" not in [name_of(each) for each in found])


async def test_every_node_gets_ranges_of_its_own(plane: Any) -> None:
    for number in (1, 2, 3):
        await plane.add_node(f"node-{number}")

    def all_have(found: list[Object]) -> bool:
        return len(found) == 3 and all(dig(each, "spec", "podCIDRs") for each in found)

    nodes = await plane.until_list(NODE, "", all_have)
    blocks = [block for node in nodes for block in node["spec"]["podCIDRs"]]
    assert len(set(blocks)) == 6
    assert all(node["spec"]["podCIDR"] == node["spec"]["podCIDRs"][0] for node in nodes)
    freed = nodes[0]["spec"]["podCIDRs"]
    await plane.admin.delete(NODE, name_of(nodes[0]))
    await plane.add_node("node-4")
    nodes = await plane.until_list(NODE, "", all_have)
    assert next(node for node in nodes if name_of(node) == "node-4")["spec"]["podCIDRs"] == freed


async def test_why_a_pod_is_pending_is_said_and_it_is_tried_again(plane: Any) -> None:
    await plane.add_node("node-1", taints=[{"key": "dedicated", "value": "db", "effect": "NoSchedule"}])
    await plane.add_node("node-2", unschedulable=True)
    await plane.add_node("node-3")
    big = pod("big")
    big["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100"}}
    await plane.admin.create(POD, big)

    async def told() -> Any:
        found = condition(await plane.admin.get(POD, "big", "default"), "PodScheduled")
        return found if found and found["status"] == "False" and "node-3" not in found else None

    found = await plane.until(told)
    assert found["reason"] == "Unschedulable"
    wanted = (
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {dedicated: db}, "
        "1 node(s) were unschedulable. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )

    async def said() -> Any:
        return (condition(await plane.admin.get(POD, "big", "default"), "PodScheduled") or {}).get("message") == wanted

    await plane.until(said)

    def warned(events: list[Object]) -> bool:
        return any(event["reason"] == "FailedScheduling" and event["message"] == wanted for event in events)

    await plane.until_list(EVENT, "default", warned)
    more = {"status": {"allocatable": {"cpu": "200"}, "capacity": {"cpu": "200"}}}
    await plane.admin.patch(NODE, "node-3", more, subresource="status")

    async def placed() -> Any:
        return dig(await plane.admin.get(POD, "big", "default"), "spec", "nodeName") == "node-3"

    await plane.until(placed)


class TestSilentNodes:
    @pytest.fixture
    def controller_options(self) -> ControllerOptions:
        return ControllerOptions(ca_pem="x", node_monitor_grace=1.0)

    async def test_a_silent_node_is_unknown_its_pods_unready_and_then_gone(self, plane: Any) -> None:
        await plane.add_node("node-1")
        seconds = {"tolerationSeconds": 0, "operator": "Exists", "effect": "NoExecute"}
        tolerations = [{"key": f"node.kubernetes.io/{key}", **seconds} for key in ("not-ready", "unreachable")]
        patient = [{**each, "tolerationSeconds": 3600} for each in tolerations]
        await plane.admin.create(SERVICE, service())
        await plane.admin.create(POD, pod("quick", tolerations=tolerations))
        await plane.admin.create(POD, pod("patient", tolerations=patient))
        running = await plane.until_list(
            POD, "default", lambda found: sum(1 for each in found if dig(each, "status", "podIP")) == 2
        )
        assert {each["spec"]["nodeName"] for each in running} == {"node-1"}
        plane.kubelets.down.add("node-1")
        # A second node that lives on: were none alive, the fault would be sought elsewhere and nobody evicted.
        await plane.add_node("node-2")
        beat = 0

        async def unknown() -> Any:
            nonlocal beat
            beat += 1
            ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": f"2026-01-01T00:{beat % 60:02}:00Z"}
            await plane.admin.patch(NODE, "node-2", {"status": {"conditions": [ready]}}, subresource="status")
            node = await plane.admin.get(NODE, "node-1")
            effects = {(each["key"], each["effect"]) for each in dig(node, "spec", "taints") or ()}
            wanted = {("node.kubernetes.io/unreachable", effect) for effect in ("NoSchedule", "NoExecute")}
            return node if wanted <= effects else None

        node = await plane.until(unknown)
        assert condition(node, "Ready")["reason"] == "NodeStatusUnknown"  # type: ignore[index]  # it has one

        async def evicted() -> Any:
            await unknown()
            return dig(await plane.admin.get(POD, "quick", "default"), "metadata", "deletionTimestamp")

        await plane.until(evicted)
        left = await plane.admin.get(POD, "patient", "default")
        assert not dig(left, "metadata", "deletionTimestamp")
        assert condition(left, "Ready")["status"] == "False"  # type: ignore[index]  # it has one

    async def test_a_lease_that_is_renewed_keeps_its_node(self, plane: Any) -> None:
        await plane.add_node("node-1")
        await plane.renew("node-1")
        beat = 0

        async def beaten() -> bool:
            nonlocal beat
            beat += 1
            spec = {"renewTime": f"2026-01-01T00:{beat % 60:02}:00.000000Z"}
            await plane.admin.patch(LEASE, "node-1", {"spec": spec}, "kube-node-lease")
            found = condition(await plane.admin.get(NODE, "node-1"), "Ready") or {}
            assert found["status"] == "True"
            return beat > 75  # one and a half times the grace

        await plane.until(beaten)


async def test_pods_of_a_node_that_is_gone_are_removed(plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.cluster.controllers.nodes.pod_gc.GRACE", 0.2)
    await plane.add_node("node-1")
    await plane.admin.create(POD, pod("left-behind"))
    await plane.until_list(POD, "default", lambda found: dig(found[0], "status", "podIP"))
    plane.kubelets.down.add("node-1")
    await plane.admin.delete(NODE, "node-1")
    await plane.until_list(POD, "default", lambda found: not found)
