"""As whom pods are seen outside the cluster: hidden behind the node, or as they are where the configuration says so."""

import subprocess
from typing import Any

import pytest
from tests.ports.node.crossing import addresses

from clew.kernel.netlink import Add, Address, Netlink, Route

pytestmark = pytest.mark.root

FAR = {4: "172.30.0.100", 6: "fd00:172:30::64"}  # the outside host, and more addresses of its own
KNOWN = {4: "172.30.0.201", 6: "fd00:172:30::c9"}
METADATA = "169.254.169.254"


@pytest.fixture
def outside(dual_lab: Any) -> Any:
    """A host that has many addresses and knows the way to pods."""
    with Netlink(dual_lab.outside) as kernel:
        kernel.request(
            [Add(Address(f"{each}/{128 if ':' in each else 32}", "eth0", nodad=True)) for each in KNOWN.values()]
        )
        kernel.request([Add(Address(f"{METADATA}/32", "lo"))])
    return dual_lab.outside


def test_networks_that_know_pods_see_them_as_they_are(dual_lab: Any, tools: Any, outside: Any) -> None:
    node = dual_lab.node(1)
    node.start(network={"backend": "host-gw", "nonMasqueradeCIDRs": ["172.30.0.192/26", "fd00:172:30::c0/122"]})
    dual_lab.route_back(outside, node)
    pod = node.pod("a")
    for at, family in enumerate((4, 6)):
        assert tools.seen_source(pod.ns, outside, FAR[family]) == addresses(node)[at]
        assert tools.seen_source(pod.ns, outside, KNOWN[family]) == pod.ips[at]


@pytest.mark.parametrize("hidden", [False, True])
def test_link_local_addresses_see_pods_unless_told_otherwise(
    dual_lab: Any, tools: Any, outside: Any, hidden: bool
) -> None:
    node = dual_lab.node(1)
    node.start(network={"backend": "host-gw", "masqLinkLocal": hidden})
    dual_lab.route_back(outside, node)
    with Netlink(node.ns) as kernel:
        kernel.request([Add(Route(f"{METADATA}/32", via=FAR[4]))])
    pod = node.pod("a")
    assert tools.seen_source(pod.ns, outside, METADATA) == (addresses(node)[0] if hidden else pod.ips[0])


def test_nobody_hides_where_the_configuration_says_so(dual_lab: Any, tools: Any, outside: Any) -> None:
    """An agent that was told otherwise before has left a table: it goes."""
    node = dual_lab.node(1)
    node.start()
    dual_lab.route_back(outside, node)
    pod = node.pod("a")
    assert tools.seen_source(pod.ns, outside, FAR[4]) == addresses(node)[0]
    node.stop()
    node.start(masquerade=False)
    tools.eventually(lambda: "clew-pods" not in _tables(node), "the table is gone")
    for at, family in enumerate((4, 6)):
        assert tools.seen_source(pod.ns, outside, FAR[family]) == pod.ips[at]


def _tables(node: Any) -> str:
    command = ["nsenter", f"--net={node.ns}", "nft", "list", "tables"]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
