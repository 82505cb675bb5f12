"""What a kubelet says of its node, and the patch that says it."""

import pytest

from clew.api.kinds import NODE
from clew.api.patch.strategic import strategic_merge_patch
from clew.cluster.kubelet import node_status
from clew.cluster.kubelet.config import KubeletConfig

CONFIG = KubeletConfig(
    "node-1", ("172.30.0.11", "fd00::b"), ("10.96.0.10",), labels=(("disk", "ssd"),),
    taints=(("only", "batch", "NoSchedule"), ("bare", "", "NoExecute")), max_pods=30,
)  # fmt: skip


@pytest.mark.parametrize("written_before", [False, True])
def test_both_families_addresses_arrive(*, written_before: bool) -> None:
    """A dual-stack node once lost its IPv4 address, and with it its IPv4 routes: addresses merge by their type."""
    node = node_status.node_object(CONFIG)
    for _ in range(1 + written_before):
        status = node_status.node_status(CONFIG, node.get("status") or {}, "2026-01-01T00:00:00Z", "")
        node = strategic_merge_patch(NODE, node, node_status.patch(status))
    assert node["status"]["addresses"] == [
        {"type": "InternalIP", "address": "172.30.0.11"},
        {"type": "InternalIP", "address": "fd00::b"},
        {"type": "Hostname", "address": "node-1"},
    ]


def test_a_node_registers_with_its_labels_and_taints() -> None:
    node = node_status.node_object(CONFIG)
    assert node["metadata"]["labels"]["disk"] == "ssd"
    assert node["spec"]["taints"][1:] == [
        {"key": "only", "value": "batch", "effect": "NoSchedule"},
        {"key": "bare", "effect": "NoExecute"},
    ]
    assert node_status.capacity(CONFIG)["pods"] == "30"
