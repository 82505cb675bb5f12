"""Policies, states of endpoints and clients multiplied, in every mode, against what kube-proxy does in a few lines.

Pages say what one flow does and why; here a draw of all combinations is held to an oracle that knows no rules: which
endpoints a policy leaves (KEP-2086, KEP-1669), who is masqueraded, and where nobody answers, whether that is said.
"""

import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from . import plan
from .modes import MODES, Simulated
from .page import PROXIES, Flow, Section, _take
from .simulated import end, outcomes, rendered, seen

STATES = {
    "absent": None,
    "ready": {"ready": True, "serving": True},
    "unready": {"ready": False, "serving": False},
    "ending": {"ready": False, "serving": True, "terminating": True},
    "ended": {"ready": False, "serving": False, "terminating": True},
}
SERVERS = {"a": "10.244.1.10", "c": "10.244.2.10"}  # one on each node
CLIENTS = ("pod/a", "pod/b", "pod/d", "node/node-1", "node/node-2", "outside")
CLUSTER_IP = "10.96.0.10:80"
OUTER = {  # where clients outside send to, and on which node that comes in
    "192.0.2.9:80": "node-1",
    "198.51.100.10:80": "node-2",
    "172.30.0.11:30080": "node-1",
    "172.30.0.12:30080": "node-2",
}
NODE_PORTS = [to for to in OUTER if to.startswith("172.30.")]
WAYS = [
    (source, to)
    for source in CLIENTS
    for to in (CLUSTER_IP, *OUTER)
    if (to in OUTER or source != "outside")  # nobody routes it
    and (to not in NODE_PORTS or plan.place(source).node in {"", OUTER[to]})  # another node would decide
]
POLICIES = ("Cluster", "Local")
DRAWN = [
    {"external": external, "internal": internal, "a": one, "c": other, "all": everything}
    for external, internal, one, other, everything in product(POLICIES, POLICIES, STATES, STATES, (False, True))
]
CASES = random.Random(7).sample(DRAWN, 24)  # the same ones each time


def section(case: dict[str, Any]) -> Section:
    made = Section(Path("product"), "product", {"masqueradeAll": case["all"]})
    spec = {
        "type": "LoadBalancer", "clusterIP": "10.96.0.10", "externalIPs": ["192.0.2.9"],
        "externalTrafficPolicy": case["external"], "internalTrafficPolicy": case["internal"],
        "ports": [{"port": 80, "nodePort": 30080}],
    }  # fmt: skip
    status = {"loadBalancer": {"ingress": [{"ip": "198.51.100.10"}]}}
    _take(made, {"kind": "Service", "metadata": {"name": "web"}, "spec": spec, "status": status})
    endpoints = [
        {"addresses": [ip], "nodeName": plan.PODS[pod].node, "conditions": STATES[case[pod]]}
        for pod, ip in SERVERS.items()
        if STATES[case[pod]]
    ]
    meta = {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}
    ports = [{"name": "", "port": 8080, "protocol": "TCP"}]
    piece = {"kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4", "ports": ports, "endpoints": endpoints}
    _take(made, piece)
    return made


def serving(case: dict[str, Any], node: str = "") -> list[str]:
    """The servers that a policy leaves: ready ones, or else those that only end; of one node, or of all."""
    mine = [pod for pod in SERVERS if node in {"", plan.PODS[pod].node}]
    return [pod for pod in mine if case[pod] == "ready"] or [pod for pod in mine if case[pod] == "ending"]


def expected(case: dict[str, Any], mode: str, source: str, to: str) -> set[tuple[str, str]]:
    node = plan.place(source).node
    is_node, inside = source.startswith("node/"), bool(node)
    if to == CLUSTER_IP:
        found, masqueraded = serving(case, node if case["internal"] == "Local" else ""), is_node or case["all"]
    elif case["external"] == "Cluster":
        found, masqueraded = serving(case), True
    elif inside:  # the short cut
        found, masqueraded = serving(case), is_node
    else:
        found, masqueraded = serving(case, OUTER[to]), False
    if not found:
        return {("DROPPED" if serving(case) else "REFUSED", "")}
    kept = {pod for pod in found if not masqueraded and mode not in PROXIES and source != f"pod/{pod}"}
    return {(f"{SERVERS[pod]}:8080", "kept" if pod in kept else "node") for pod in found}


def is_documented(mode: str, case: dict[str, Any], source: str, to: str, wanted: set[tuple[str, str]]) -> bool:
    """Differences between modes that docs/design/services.md names; pages hold them."""
    inside_by_local = to != CLUSTER_IP and source != "outside" and case["external"] == "Local"
    to_itself = any((f"{SERVERS[pod]}:8080", "node") in wanted for pod in SERVERS if source == f"pod/{pod}")
    own_refused = source.startswith("node/") and to != CLUSTER_IP and wanted == {("REFUSED", "")}
    return {"ipvs": inside_by_local, "iptables": own_refused, "ebpf": to_itself}.get(mode, False)


@pytest.mark.parametrize("case", CASES, ids=["-".join(map(str, case.values())) for case in CASES])
def test_product(case: dict[str, Any]) -> None:
    page = section(case)
    known: dict[tuple[str, str, int], Simulated] = {}
    wrong = []
    for mode in MODES:

        def nodes(node: str, family: int, mode: str = mode) -> Simulated:
            if (mode, node, family) not in known:
                known[mode, node, family] = rendered(MODES[mode], page, node, family)
            return known[mode, node, family]

        for source, to in WAYS:
            wanted = expected(case, mode, source, to)
            flow = Flow(source, to, "TCP", ("",), False, "", 0)
            got = {(end(flow, outcome), seen(outcome)) for outcome in outcomes(flow, nodes)}
            if got != wanted and not is_documented(mode, case, source, to, wanted):
                wrong.append(f"{mode}: {source} to {to}: {sorted(got)}, not {sorted(wanted)}")
    assert not wrong
