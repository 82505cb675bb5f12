from datetime import UTC, datetime
from typing import Any

import pytest

from clew.api import kinds as k
from clew.api.kinds import KINDS, Kind
from clew.cluster.tables import table
from clew.cluster.tables.columns import duration
from clew.cluster.tables.jsonpath import first

NOW = datetime(2026, 1, 2, 0, 10, 0, tzinfo=UTC)
CREATED = "2026-01-02T00:00:00Z"


def obj(**fields: Any) -> dict[str, Any]:
    meta = {"name": "x", "creationTimestamp": CREATED, **fields.pop("metadata", {})}
    return {"metadata": meta, **fields}


def service(**spec: Any) -> dict[str, Any]:
    return obj(spec={"type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": [{"port": 80, "protocol": "TCP"}], **spec})


TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j:2"}]}}
SELECTOR = {"matchLabels": {"app": "web"}}
READY = {"type": "Ready", "status": "True"}


@pytest.mark.parametrize(
    ("kind", "found", "cells"),
    [
        (k.SCALE, obj(spec={"replicas": 3}, status={"replicas": 2}), ["x", 3, 2, "10m"]),
        (k.SERVICE, service(), ["x", "ClusterIP", "10.96.0.1", "<none>", "80/TCP", "10m", "<none>"]),
        (
            k.SERVICE, service(type="NodePort", ports=[{"port": 80, "nodePort": 30000, "protocol": "TCP"}],
             selector={"b": "2", "a": "1"}),
            ["x", "NodePort", "10.96.0.1", "<none>", "80:30000/TCP", "10m", "a=1,b=2"],
        ),
        (
            k.SERVICE, service(type="LoadBalancer"),
            ["x", "LoadBalancer", "10.96.0.1", "<pending>", "80/TCP", "10m", "<none>"],
        ),
        (
            k.SERVICE,
            {**service(type="LoadBalancer"), "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
            ["x", "LoadBalancer", "10.96.0.1", "192.0.2.1", "80/TCP", "10m", "<none>"],
        ),
        (
            k.SERVICE, obj(spec={"type": "ExternalName", "externalName": "a.b"}),
            ["x", "ExternalName", "<none>", "a.b", "<none>", "10m", "<none>"],
        ),
        (
            k.SERVICE, service(clusterIP="None", ports=[]),
            ["x", "ClusterIP", "None", "<none>", "<none>", "10m", "<none>"],
        ),
        (
            k.ENDPOINTS,
            obj(subsets=[{"addresses": [{"ip": "10.0.0.1"}, {"ip": "::1"}], "ports": [{"port": 80}, {"port": 81}]}]),
            ["x", "10.0.0.1:80,[::1]:80,10.0.0.1:81 + 1 more...", "10m"],
        ),
        (k.ENDPOINTS, obj(), ["x", "<none>", "10m"]),
        (
            k.ENDPOINT_SLICE,
            obj(addressType="IPv4", ports=[{"port": 80}, {"name": "n"}], endpoints=[{"addresses": ["10.0.0.1"]}]),
            ["x", "IPv4", "80,n", "10.0.0.1", "10m"],
        ),
        (k.ENDPOINT_SLICE, obj(addressType="IPv4"), ["x", "IPv4", "<unset>", "<unset>", "10m"]),
        (
            k.NODE,
            obj(
                metadata={"labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/a": ""}},
                spec={"unschedulable": True},
                status={
                    "conditions": [READY], "addresses": [{"type": "InternalIP", "address": "172.30.0.11"}],
                    "nodeInfo": {"kubeletVersion": "v1", "osImage": "Debian", "kernelVersion": "6.1",
                                 "containerRuntimeVersion": "runc://1"},
                },
            ),
            ["x", "Ready,SchedulingDisabled", "a,worker", "10m", "v1", "172.30.0.11", "<none>", "Debian", "6.1",
             "runc://1"],
        ),
        (
            k.NODE, obj(status={"conditions": [{"type": "Ready", "status": "Unknown"}]}),
            ["x", "NotReady", "<none>", "10m", "", "<none>", "<none>", "<unknown>", "<unknown>", "<unknown>"],
        ),
        (
            k.DEPLOYMENT,
            obj(spec={"replicas": 2, "template": TEMPLATE, "selector": SELECTOR},
                status={"readyReplicas": 1, "updatedReplicas": 2}),
            ["x", "1/2", 2, 0, "10m", "a,b", "i:1,j:2", "app=web"],
        ),
        (
            k.REPLICA_SET, obj(spec={"replicas": 2, "template": TEMPLATE, "selector": SELECTOR},
             status={"replicas": 1}),
            ["x", 2, 1, 0, "10m", "a,b", "i:1,j:2", "app=web"],
        ),
        (
            k.DAEMON_SET,
            obj(spec={"template": TEMPLATE, "selector": SELECTOR}, status={"desiredNumberScheduled": 3,
             "numberReady": 1}),
            ["x", 3, 0, 1, 0, 0, "<none>", "10m", "a,b", "i:1,j:2", "app=web"],
        ),
        (
            k.EVENT,
            obj(
                type="Warning", reason="Failed", message=" it broke\n", count=3, involvedObject={"kind": "Pod",
                 "name": "p"},
                source={"component": "kubelet", "host": "n"}, firstTimestamp=CREATED,
                lastTimestamp="2026-01-02T00:09:00Z",
            ),
            ["60s", "Warning", "Failed", "pod/p", "", "kubelet, n", "it broke", "10m", 3, "x"],
        ),
        (
            k.EVENTS_EVENT,
            obj(type="Normal", reason="R", note="fine", regarding={"kind": "Node"}, reportingController="c",
                eventTime="2026-01-02T00:09:58.000000Z"),
            ["2s", "Normal", "R", "node", "", "c", "fine", "2s", 1, "x"],
        ),
        (k.CONFIG_MAP, obj(data={"a": "1"}, binaryData={"b": ""}), ["x", 2, "10m"]),
        (k.SECRET, obj(type="Opaque", data={"a": ""}), ["x", "Opaque", 1, "10m"]),
        (k.SERVICE_ACCOUNT, obj(), ["x", 0, "10m"]),
        (k.NAMESPACE, obj(status={"phase": "Active"}), ["x", "Active", "10m"]),
        (k.LEASE, obj(spec={"holderIdentity": "n"}), ["x", "n", "10m"]),
        (k.ROLE, obj(), ["x", CREATED]),
        (
            k.ROLE_BINDING,
            obj(roleRef={"kind": "Role", "name": "r"}, subjects=[
                {"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"},
                {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
            ]),
            ["x", "Role/r", "10m", "u", "g", "n/s"],
        ),
        (k.CRD, obj(), ["x", CREATED]),
        (
            k.CONTROLLER_REVISION,
            obj(metadata={"ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": True}
            ]}, revision=2),
            ["x", "daemonset.apps/d", 2, "10m"],
        ),
    ],
)  # fmt: skip
def test_cells(kind: Kind, found: dict, cells: list) -> None:
    shown = table(kind, [found], "None", NOW)
    assert shown["rows"] == [{"cells": cells}]
    assert len(shown["columnDefinitions"]) == len(cells)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind_prints_an_object_that_says_nothing(kind: Kind) -> None:
    shown = table(kind, [{"metadata": {"name": "x"}}], "Metadata", NOW)
    assert len(shown["rows"][0]["cells"]) == len(shown["columnDefinitions"])
    assert shown["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


def test_rows_carry_what_was_asked_for() -> None:
    found = obj(data={})
    assert table(k.CONFIG_MAP, [found], "Object", NOW)["rows"][0]["object"] == found
    assert "object" not in table(k.CONFIG_MAP, [found], "None", NOW)["rows"][0]


WIDGET = Kind("example.org", "v1", "Widget", "widgets", True)
COLUMNS = [
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status', "priority": 1},
    {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Tags", "type": "string", "jsonPath": ".spec.tags"},
]


def test_custom_columns() -> None:
    widget = obj(spec={"size": 3, "tags": ["a"]}, status={"conditions": [READY]})
    shown = table(WIDGET, [widget, obj(spec={"size": "big"})], "None", NOW, COLUMNS)
    assert [each["name"] for each in shown["columnDefinitions"]] == ["Name", "Size", "Ready", "Since", "Tags"]
    assert shown["columnDefinitions"][2]["priority"] == 1
    assert shown["rows"][0]["cells"] == ["x", 3, "True", "10m", '["a"]']
    assert shown["rows"][1]["cells"] == ["x", None, None, "10m", None]


def test_a_custom_kind_without_columns_shows_its_age() -> None:
    shown = table(WIDGET, [obj()], "None", NOW)
    assert [each["name"] for each in shown["columnDefinitions"]] == ["Name", "Age"]
    assert shown["rows"][0]["cells"] == ["x", "10m"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (600, "10m"), (605, "10m"),
        (10_799, "179m"), (10_800, "3h"), (10_860, "3h1m"), (28_800, "8h"), (172_799, "47h"), (172_800, "2d"),
        (176_400, "2d1h"), (691_200, "8d"), (63_072_000, "2y"), (63_158_400, "2y1d"), (252_288_000, "8y"),
    ],
)  # fmt: skip
def test_durations(seconds: int, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".a.b", 1), (".a.c", None), (".l[0]", "x"), (".l[-1]", "y"), (".l[9]", None), (".l[*]", "x"),
        (".m['k.l']", 2), ('.m["k.l"]', 2), (r".m.k\.l", 2), ('.o[?(@.t=="B")].v', 4), ("nonsense", None),
    ],
)  # fmt: skip
def test_json_paths(path: str, value: object) -> None:
    found = {"a": {"b": 1}, "l": ["x", "y"], "m": {"k.l": 2}, "o": [{"t": "A", "v": 3}, {"t": "B", "v": 4}]}
    assert first(found, path) == value
