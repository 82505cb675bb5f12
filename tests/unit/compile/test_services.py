import time
from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.compile.services import Key, ServiceCompiler, ServiceNode, balance
from clew.facts import endpointslice, service
from clew.facts.endpointslice import EndpointSlice
from clew.facts.service import Service
from clew.ir.balancing import Backend, Balancer, Balancing

NODE = ServiceNode("node-1", "east", ("172.30.0.11",))


def web(name: str = "web", created: str = "2026-01-01T00:00:00Z", **spec: Any) -> Service:
    meta = {"name": name, "namespace": "default", "creationTimestamp": created}
    status = spec.pop("status", {})
    return service.from_api(
        {
            "metadata": meta,
            "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}], **spec},
            "status": status,
        }
    )


def piece(*endpoints: Mapping[str, Any], name: str = "web-1", of: str = "web", family: str = "IPv4") -> EndpointSlice:
    return endpointslice.from_api(
        {
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": of}},
            "addressType": family,
            "ports": [{"name": "", "port": 8080}],
            "endpoints": list(endpoints),
        }
    )


def pod(address: str, node: str = "node-2", **more: Any) -> dict[str, Any]:
    return {"addresses": [address], "nodeName": node, **more}


def only(balancing: Balancing) -> Balancer:
    (balancer,) = balancing.balancers
    return balancer


def test_backends_say_where_they_are_and_come_in_order() -> None:
    balancer = only(balance(web(), [piece(pod("10.0.0.2", "node-1"), pod("10.0.0.1"), pod("10.0.0.3", ""))], NODE))
    assert balancer.cluster == (
        Backend("10.0.0.1", 8080, "elsewhere"),
        Backend("10.0.0.2", 8080, "here"),
        Backend("10.0.0.3", 8080, "unknown"),
    )
    assert balancer.origin == "default/web"


@pytest.mark.parametrize(
    "change",
    [
        {"clusterIP": "None", "clusterIPs": ["None"]},
        {"clusterIP": "", "type": "ExternalName", "externalName": "example.org"},
        {"clusterIP": ""},
    ],
)
def test_services_without_a_cluster_address_need_nothing(change: dict[str, Any]) -> None:
    assert balance(web(**change), [piece(pod("10.0.0.1"))], NODE).balancers == ()


def test_an_address_that_is_none_is_a_problem_and_the_rest_goes_on() -> None:
    found = balance(web(externalIPs=["not-an-ip", "192.0.2.1"]), [piece(pod("10.0.0.300"), pod("10.0.0.1"))], NODE)
    assert [frontend.address for frontend in only(found).frontends] == ["10.96.0.10", "192.0.2.1"]
    assert [backend.address for backend in only(found).cluster] == ["10.0.0.1"]
    assert {(problem.field, problem.origin) for problem in found.problems} == {
        ("spec.externalIPs[0]", "Service default/web"),
        ("endpoints", "Service default/web"),
    }


def test_leading_zeros_are_decimal() -> None:
    """Kubernetes took such addresses until 1.36 and reads them so; services that have them must not stop."""
    old = web(clusterIP="10.096.0.011", loadBalancerSourceRanges=["010.0.0.0/08"], externalIPs=["192.0.002.010"])
    balancing = balance(old, [piece(pod("10.0.0.011"))], NODE)
    balancer = only(balancing)
    assert [frontend.address for frontend in balancer.frontends] == ["10.96.0.11", "192.0.2.10"]
    assert [backend.address for backend in balancer.cluster] == ["10.0.0.11"]
    assert not balancing.problems


def test_an_address_of_one_link_only_is_a_problem() -> None:
    """It would have to be spelt in bytes, and means another place on each node."""
    slices = [piece(pod("fe80::1%eth0"), pod("fd00::1"), family="IPv6")]
    found = balance(web(clusterIP="fd00::10", externalIPs=["fe80::2%eth0"]), slices, NODE)
    assert [frontend.address for frontend in only(found).frontends] == ["fd00::10"]
    assert [backend.address for backend in only(found).cluster] == ["fd00::1"]
    assert {problem.field for problem in found.problems} == {"spec.externalIPs[0]", "endpoints"}


def test_ipv6_addresses_are_told_by_one_spelling() -> None:
    found = balance(web(clusterIP="FD00:0::10"), [piece(pod("fd00:0:0::1"), family="IPv6")], NODE)
    assert only(found).frontends[0].address == "fd00::10"
    assert only(found).cluster[0].address == "fd00::1"


LB = {"type": "LoadBalancer", "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}


@pytest.mark.parametrize(
    ("ranges", "sources"),
    [
        ([], None),
        (["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"], ("10.0.0.0/7",)),
        (["0.0.0.0/0"], None),
        (["fd00::/8"], None),  # of the other family: restricts nothing here, as with kube-proxy
        (["10.0.0.0/99"], ()),  # admits nobody rather than everybody
        (["172.30.0.0/24"], ("172.30.0.0/24", "192.0.2.1/32")),  # holds the node: it may use the address as its own
    ],
)
def test_source_ranges(ranges: list[str], sources: tuple[str, ...] | None) -> None:
    found = balance(web(loadBalancerSourceRanges=ranges, **LB), [piece(pod("10.0.0.1"))], NODE)
    (external,) = [frontend for frontend in only(found).frontends if frontend.scope == "external"]
    assert external.sources == sources


def test_an_address_of_the_balancer_is_restricted_by_every_name() -> None:
    """Named in externalIPs as well, it was open to everybody; kube-proxy's firewall knows addresses alone."""
    for ranges, expected in ((["203.0.113.0/24"], ("203.0.113.0/24",)), (["wrong"], ())):
        spec: Any = {**LB, "loadBalancerSourceRanges": ranges, "externalIPs": ["192.0.2.1", "192.0.2.9"]}
        found = only(balance(web(**spec), [piece(pod("10.0.0.1"))], NODE))
        sources = {frontend.address: frontend.sources for frontend in found.frontends}
        assert sources == {"10.96.0.10": None, "192.0.2.1": expected, "192.0.2.9": None}


def test_ports_that_no_service_has_cost_nothing() -> None:
    """One slice may have a thousand endpoints and 20,000 ports: their product ended every agent."""
    many = endpointslice.from_api({
        "metadata": {"name": "web-2", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": f"p{n}", "port": 1 + n} for n in range(20_000)],
        "endpoints": [pod(f"10.{n // 250}.{n % 250}.9") for n in range(1000)],
    })  # fmt: skip
    began = time.process_time()
    assert only(balance(web(), [many, piece(pod("10.0.0.1"))], NODE)).cluster == (
        Backend("10.0.0.1", 8080, "elsewhere"),
    )
    assert time.process_time() - began < 1


def test_an_endpoint_in_two_slices_is_where_either_says() -> None:
    """A slice that did not know the node hid that the endpoint was here, from policy Local."""
    ways = permutations([piece(pod("10.0.0.1", ""), name="a"), piece(pod("10.0.0.1", "node-1"), name="b")])
    for pieces in ways:
        assert only(balance(web(), pieces, NODE)).cluster == (Backend("10.0.0.1", 8080, "here"),)


def test_serving_endpoints_that_are_not_chosen_are_kept_in_mind() -> None:
    ending = pod("10.0.0.2", conditions={"ready": False, "serving": True, "terminating": True})
    balancer = only(balance(web(), [piece(pod("10.0.0.1"), ending)], NODE))
    assert [backend.address for backend in balancer.cluster] == ["10.0.0.1"]
    assert [backend.address for backend in balancer.others] == ["10.0.0.2"]


def test_a_malformed_object_is_a_problem_of_its_own() -> None:
    _, wrong = service.decode(b'{"metadata": {"name": "x", "namespace": "y"}, "spec": {"ports": 7}}')
    assert wrong is not None
    (problem,) = balance(wrong, [], NODE).problems
    assert problem.origin == "Service y/x"
    assert "ports" in problem.message


# States of a small cluster; every way between them ends in what the last one says.
STATES: dict[str, tuple[list[Service], list[EndpointSlice]]] = {
    "empty": ([], []),
    "one": ([web()], [piece(pod("10.0.0.1"))]),
    "one without endpoints": ([web()], []),
    "endpoints before their service": ([], [piece(pod("10.0.0.1"))]),
    "two that want one node port": (
        [
            web(ports=[{"port": 80, "nodePort": 30080}], type="NodePort"),
            web("older", "2025-01-01T00:00:00Z", clusterIP="10.96.0.11", ports=[{"port": 80, "nodePort": 30080}]),
        ],
        [piece(pod("10.0.0.1")), piece(pod("10.0.0.2"), name="older-1", of="older")],
    ),
    "the younger one alone": (
        [web(ports=[{"port": 80, "nodePort": 30080}], type="NodePort")],
        [piece(pod("10.0.0.1"))],
    ),
    "made again": ([web(created="2024-01-01T00:00:00Z", ports=[{"port": 80, "nodePort": 30080}])], []),
    "two slices": ([web()], [piece(pod("10.0.0.1")), piece(pod("10.0.0.2"), name="web-2")]),
}


class Cluster:
    def __init__(self, state: str) -> None:
        services, slices = STATES[state]
        self.services = {each.key: each for each in services}
        self._slices = slices

    def slices(self, key: Key) -> Iterable[EndpointSlice]:
        return [each for each in self._slices if each.service_key == key]


def wholesale(state: str) -> Mapping[Key, Balancing]:
    cluster = Cluster(state)
    compiler = ServiceCompiler(NODE)
    compiler.update(sorted(cluster.services, reverse=True), cluster.services.get, cluster.slices)
    return compiler.balancings


KEYS = [("default", "web"), ("default", "older")]


@pytest.mark.parametrize("path", list(permutations(STATES, 3)), ids=" > ".join)
def test_every_path_ends_in_what_the_last_state_says(path: tuple[str, ...]) -> None:
    compiler = ServiceCompiler(NODE)
    copy: dict[Key, Balancing] = {}
    for state in path:
        cluster = Cluster(state)
        for key, change in compiler.update(KEYS, cluster.services.get, cluster.slices).items():
            assert change.before == copy.get(key, Balancing((), ()))
            copy[key] = change.after
        assert compiler.balancings == wholesale(state)
        assert {key: value for key, value in copy.items() if value != Balancing((), ())} == compiler.balancings


def test_the_older_service_holds_a_contested_port_and_the_other_is_told() -> None:
    found = wholesale("two that want one node port")
    ports = {
        key: [each.port for each in value.balancers[0].frontends if not each.address] for key, value in found.items()
    }
    assert ports == {("default", "older"): [30080], ("default", "web"): []}
    (problem,) = found["default", "web"].problems
    assert problem.field == "spec.ports[0].nodePort"
    assert "default/older" in problem.message


SERVICES = st.sampled_from([None, *(service for services, _ in STATES.values() for service in services)])


@given(st.lists(st.tuples(st.sampled_from(KEYS), SERVICES), max_size=12))
def test_single_changes_are_as_good_as_the_whole(steps: list[tuple[Key, Service | None]]) -> None:
    compiler = ServiceCompiler(NODE)
    services: dict[Key, Service] = {}
    slices = [piece(pod("10.0.0.1")), piece(pod("10.0.0.2"), name="older-1", of="older")]

    def of(key: Key) -> Iterable[EndpointSlice]:
        return [each for each in slices if each.service_key == key]

    for key, fact in steps:
        if fact is None or fact.key != key:
            services.pop(key, None)
        else:
            services[key] = fact
        compiler.update([key], services.get, of)
    fresh = ServiceCompiler(NODE)
    fresh.update(KEYS, services.get, of)
    assert compiler.balancings == fresh.balancings
