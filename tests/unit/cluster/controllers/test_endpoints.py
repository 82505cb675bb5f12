"""Endpoints and slices of a service, from pods; and slices from Endpoints that were written by hand."""

from typing import Any

import pytest

from clew.api.objects import Object
from clew.cluster.controllers.endpoints.endpoint_slices import slices
from clew.cluster.controllers.endpoints.mirror_controller import mirrored, mirrors, skipped
from clew.cluster.controllers.endpoints.services import TriggerTimes, ports
from clew.cluster.controllers.endpoints.subsets import endpoints, subsets

NODES = {"n1": {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}}}}


def pod(name: str, *ips: str, ready: bool = True, **more: Any) -> Object:
    meta = {"namespace": "d", "name": name, "uid": name} | more.pop("meta", {})
    spec = {"nodeName": "n1", "containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]} | more.pop(
        "spec", {}
    )
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    status = {"podIPs": [{"ip": ip} for ip in ips or ("10.0.0.1",)], "conditions": conditions, "phase": "Running"}
    return {"metadata": meta, "spec": spec, "status": status | more}


def service(**spec: Any) -> Object:
    meta = {"namespace": "d", "name": "web", "uid": "s", "labels": {"app": "web"}}
    common = {"clusterIP": "10.96.0.9", "selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]}
    return {"metadata": meta, "spec": common | spec}


def made(svc: Object, *pods: Object) -> list[Object]:
    return slices(svc, pods, NODES, []).changes.create


DELETING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("svc", "member", "conditions"),
    [
        (service(), pod("a"), (True, True, False)),
        (service(), pod("a", ready=False), (False, False, False)),
        (service(), pod("a", meta=DELETING), (False, True, True)),
        (service(), pod("a", ready=False, meta=DELETING), (False, False, True)),
        (service(publishNotReadyAddresses=True), pod("a", ready=False), (True, False, False)),
    ],
)
def test_conditions(svc: Object, member: Object, conditions: tuple[bool, bool, bool]) -> None:
    (piece,) = made(svc, member)
    found = piece["endpoints"][0]["conditions"]
    assert (found["ready"], found["serving"], found["terminating"]) == conditions


def test_a_slice_says_all_of_its_pod() -> None:
    (piece,) = made(service(), pod("a", spec={"hostname": "db-0", "subdomain": "web"}))
    assert piece["endpoints"] == [{
        "addresses": ["10.0.0.1"], "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {"kind": "Pod", "namespace": "d", "name": "a", "uid": "a"},
        "nodeName": "n1", "zone": "a", "hostname": "db-0",
    }]  # fmt: skip
    assert piece["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert piece["metadata"]["labels"] == {
        "app": "web", "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }  # fmt: skip


def test_one_slice_an_address_family() -> None:
    pieces = made(service(ipFamilies=["IPv4", "IPv6"]), pod("a", "10.0.0.1", "fd00::1"), pod("b", "10.0.0.2"))
    found = {piece["addressType"]: [each["addresses"][0] for each in piece["endpoints"]] for piece in pieces}
    assert found == {"IPv4": ["10.0.0.1", "10.0.0.2"], "IPv6": ["fd00::1"]}


def test_pods_that_name_the_port_differently_are_in_slices_of_their_own() -> None:
    other = pod("b", "10.0.0.2", spec={"containers": [{"ports": [{"name": "http", "containerPort": 9090}]}]})
    pieces = made(service(), pod("a"), other)
    assert {piece["ports"][0]["port"]: len(piece["endpoints"]) for piece in pieces} == {8080: 1, 9090: 1}


def test_headless_is_labelled_and_needs_no_ports() -> None:
    (piece,) = made(service(clusterIP="None", ports=None), pod("a"))
    assert piece["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert piece["ports"] == []
    assert len(piece["endpoints"]) == 1


def test_finished_pods_and_those_without_address_do_not_count() -> None:
    (piece,) = made(service(), pod("a", phase="Succeeded"), pod("b", podIPs=[]))
    assert piece["endpoints"] == []


def test_pods_of_a_node_that_is_gone_are_left_out_until_it_is_known() -> None:
    """They stayed for as long as nobody collected the pods; kube-controller-manager leaves them out at once."""
    pods = [pod("a"), pod("b", "10.0.0.2", spec={"nodeName": "gone"})]
    plan = slices(service(), pods, NODES, [])
    assert [each["addresses"] for each in plan.changes.create[0]["endpoints"]] == [["10.0.0.1"]]
    assert plan.is_waiting
    publishing = slices(service(publishNotReadyAddresses=True), pods, NODES, [])
    assert len(publishing.changes.create[0]["endpoints"]) == 2
    assert not publishing.is_waiting


def test_traffic_that_should_stay_near_gets_hints() -> None:
    (piece,) = made(service(trafficDistribution="PreferClose"), pod("a"))
    assert piece["endpoints"][0]["hints"] == {"forZones": [{"name": "a"}]}


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({"port": 80}, [("", "TCP", 80)]),
        ({"port": 80, "targetPort": 8081, "name": "w"}, [("w", "TCP", 8081)]),
        ({"port": 80, "targetPort": "http"}, [("", "TCP", 8080)]),
        ({"port": 80, "targetPort": "http", "protocol": "UDP"}, []),
        ({"port": 80, "targetPort": "absent"}, []),
    ],
)
def test_ports(port: Object, expected: list[tuple[str, str, int]]) -> None:
    assert [each[:3] for each in ports({"spec": {"ports": [port]}}, pod("a"))] == expected


def test_subsets() -> None:
    found = subsets(service(), [pod("b", "10.0.0.10"), pod("a", "10.0.0.9"), pod("c", "10.0.0.3", ready=False)])
    assert [each["ip"] for each in found[0]["addresses"]] == ["10.0.0.9", "10.0.0.10"]
    assert [each["ip"] for each in found[0]["notReadyAddresses"]] == ["10.0.0.3"]
    assert found[0]["ports"] == [{"port": 8080, "protocol": "TCP"}]


def test_endpoints_are_written_only_when_they_change() -> None:
    first = endpoints(service(), [pod("a")], None, "2026-01-01T00:00:00Z")
    assert first is not None
    assert first["metadata"]["annotations"] == {
        "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"
    }
    assert endpoints(service(), [pod("a")], first, "") is None
    empty = endpoints(service(), [], first, "")
    assert empty is not None
    assert "subsets" not in empty


def test_more_than_a_thousand_addresses_are_cut_the_ready_ones_last() -> None:
    pods = [pod(f"p{n}", f"10.0.{n // 250}.{n % 250}", ready=n % 2 == 0) for n in range(1200)]
    found = endpoints(service(), pods, None, "")
    assert found is not None
    assert len(found["subsets"][0]["addresses"]) == 600
    assert len(found["subsets"][0]["notReadyAddresses"]) == 400
    assert found["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"] == "truncated"


@pytest.mark.parametrize(
    ("subsets_of", "kept"),
    [
        ([(1000, 0)], [(1000, 0)]),
        ([(500, 500), (500, 500)], [(500, 0), (500, 0)]),
        ([(800, 0), (800, 0)], [(500, 0), (500, 0)]),
        ([(300, 0), (300, 0), (300, 0), (300, 0)], [(250, 0)] * 4),
        ([(100, 900), (100, 300)], [(100, 600), (100, 200)]),
        ([(2, 0), (1001, 5)], [(2, 0), (998, 0)]),
    ],
)  # fmt: skip
def test_every_subset_gives_up_its_part(subsets_of: list[tuple[int, int]], kept: list[tuple[int, int]]) -> None:
    """The last subset once lost all of its addresses, so that its ports had no endpoint at all."""
    pods = [
        pod(f"p{at}-{n}", f"10.{at}.{n // 250}.{n % 250}", ready=n < ready,
            spec={"containers": [{"ports": [{"name": "http", "containerPort": 8000 + at}]}]})
        for at, (ready, others) in enumerate(subsets_of)
        for n in range(ready + others)
    ]  # fmt: skip
    found = endpoints(service(), pods, None, "")
    assert found is not None
    counts = [(len(each.get("addresses", ())), len(each.get("notReadyAddresses", ()))) for each in found["subsets"]]
    assert counts == kept


HAND = {
    "metadata": {"namespace": "d", "name": "web", "uid": "e", "labels": {"x": "y"}, "annotations": {"n": "m"}},
    "subsets": [{
        "addresses": [{"ip": "192.0.2.1"}, {"ip": "fd00::7"}], "notReadyAddresses": [{"ip": "192.0.2.2"}],
        "ports": [{"port": 80, "name": "w"}],
    }],
}  # fmt: skip


def test_hand_written_endpoints_become_slices() -> None:
    pieces = {piece["addressType"]: piece for piece in mirrored(HAND, []).create}
    four = pieces["IPv4"]
    assert [(each["addresses"], each["conditions"]["ready"]) for each in four["endpoints"]] == [
        (["192.0.2.1"], True), (["192.0.2.2"], False),
    ]  # fmt: skip
    assert [each["addresses"] for each in pieces["IPv6"]["endpoints"]] == [["fd00::7"]]
    assert four["metadata"]["annotations"] == {"n": "m"}
    assert four["metadata"]["labels"]["x"] == "y"


def test_a_subset_is_one_slice_up_to_a_thousand() -> None:
    many = [{"ip": f"10.0.{n // 250}.{n % 250}"} for n in range(1200)]
    source = {**HAND, "subsets": [{"addresses": many, "ports": [{"port": 80}]}]}
    (piece,) = mirrored(source, []).create
    assert len(piece["endpoints"]) == 1000
    assert skipped(source) == 200
    assert skipped(HAND) == 0


@pytest.mark.parametrize(
    ("meta", "svc", "expected"),
    [
        ({}, service(selector=None), True),
        ({}, service(), False),
        ({}, None, False),
        ({"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}, service(selector=None), False),
        ({"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}, service(selector=None), False),
    ],
)
def test_what_is_mirrored(meta: Object, svc: Object | None, expected: bool) -> None:  # a table
    assert mirrors({"metadata": meta}, svc) is expected


def test_the_trigger_is_the_first_change_that_was_not_known() -> None:
    times = TriggerTimes()
    svc = service()
    svc["metadata"]["creationTimestamp"] = "2026-01-01T00:00:05Z"
    late = pod("b")
    late["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:09Z"
    assert times.since(svc, [pod("a")]) == "2026-01-01T00:00:00Z"
    assert times.since(svc, [pod("a")]) == ""
    assert times.since(svc, [pod("a"), late]) == "2026-01-01T00:00:09Z"
