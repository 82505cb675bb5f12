"""Trimming Nodes at the door."""

import json

from clew.facts.node import Node, decode, from_api

OBJECT = {
    "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}, "resourceVersion": "7"},
    "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00::/64"]},
    "status": {
        "addresses": [
            {"type": "InternalIP", "address": "172.30.0.11"},
            {"type": "Hostname", "address": "n1"},
            {"type": "InternalIP", "address": "fd00:172::11"},
            {"type": "ExternalIP", "address": "192.0.2.1"},
        ],
        "conditions": [{"type": "Ready", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
    },
}


def test_what_matters_is_kept() -> None:
    assert from_api(OBJECT) == Node(
        "n1", ("172.30.0.11", "fd00:172::11"), ("192.0.2.1",), ("10.244.1.0/24", "fd00::/64"), "a", going=False,
        labels=(("topology.kubernetes.io/zone", "a"),),
    )  # fmt: skip


def test_a_heartbeat_changes_nothing() -> None:
    later = json.loads(json.dumps(OBJECT).replace("2026-01-01", "2026-01-02").replace('"7"', '"8"'))
    assert from_api(later) == from_api(OBJECT)


def test_a_node_without_a_range_yet() -> None:
    assert from_api({"metadata": {"name": "n1"}}) == Node("n1")
    assert from_api({"metadata": {"name": "n1"}, "spec": {"podCIDR": "10.0.0.0/24"}}).pod_cidrs == ("10.0.0.0/24",)


def test_a_node_that_is_going() -> None:
    assert from_api({"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}}).going
    assert from_api({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler"}]}}).going
    assert not from_api({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "other"}]}}).going


def test_a_field_of_another_type_is_said() -> None:
    key, node = decode(b'{"metadata": {"name": "n1"}, "spec": {"podCIDRs": "10.0.0.0/8"}}')
    assert key == ("", "n1")
    assert node is not None
    assert "podCIDRs" in node.wrong[0][1]


def test_what_is_no_key_is_left_out_and_named() -> None:
    """Written by anybody who may annotate a Node: the agents of all others ended where it was no base64."""
    good = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
    for text in ("x", good[:-4], good.replace("g=", "h="), f" {good}", "\u00e9"):
        node = from_api({"metadata": {"name": "n1", "annotations": {"clew.dev/wireguard-public-key": text}}})
        assert node.wireguard_key == ""
        assert node.wrong == (("metadata.annotations[clew.dev/wireguard-public-key]", f"{text!r} is no WireGuard key"),)
    node = from_api({"metadata": {"name": "n1", "annotations": {"clew.dev/wireguard-public-key": good}}})
    assert (node.wireguard_key, node.wrong) == (good, ())


def test_what_is_no_address_or_range_is_left_out_and_named() -> None:
    """An API server takes both. One such Node ended the agents of all others, which read it for their masquerade."""
    listed = ["172.30.0.011", "0.0.0.0", "fe80::1%eth0", "FD00:172:0::11"]
    node = from_api({
        "metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.244.9.1/24", "fd00:0::/64", "x"]},
        "status": {"addresses": [
            *({"type": "InternalIP", "address": each} for each in listed),
            {"type": "Hostname", "address": "n1"}, {"type": "ExternalIP", "address": "node.example"},
        ]},
    })  # fmt: skip
    assert (node.internal_ips, node.external_ips, node.pod_cidrs) == (("fd00:172::11",), (), ("fd00::/64",))
    assert [field for field, _ in node.wrong] == [
        "status.addresses[0].address", "status.addresses[1].address", "status.addresses[2].address",
        "status.addresses[5].address", "spec.podCIDRs[0]", "spec.podCIDRs[2]",
    ]  # fmt: skip
    assert dict(node.wrong)["spec.podCIDRs[0]"] == "10.244.9.1/24 has host bits set"
