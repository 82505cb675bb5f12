"""Filters, scores and the sentence that says why; pods and nodes as the API has them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.api.objects import Object
from clew.cluster.scheduler.fit import fits
from clew.cluster.scheduler.resources import requests
from clew.cluster.scheduler.score import best
from clew.cluster.scheduler.state import ClusterState, Placed

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def node(name: str, zone: str = "a", ready: str = "True", **spec: Any) -> Object:
    room = {"cpu": "2", "memory": "4Gi", "pods": "3"} | spec.pop("room", {})
    labels = {HOST: name, ZONE: zone} | spec.pop("labels", {})
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "metadata": {"name": name, "uid": name, "labels": labels}, "spec": spec,
        "status": {"allocatable": room, "conditions": conditions},
    }  # fmt: skip


def pod(name: str = "p", cpu: str = "", app: str = "web", owner: str = "", **spec: Any) -> Object:
    container: Object = {"name": "c", "resources": {"requests": {"cpu": cpu} if cpu else {}}}
    container |= spec.pop("container", {})
    meta: Object = {"name": name, "namespace": "default", "uid": name, "labels": {"app": app}}
    if owner:
        meta["ownerReferences"] = [{"uid": owner, "controller": True}]
    return {"metadata": meta, "spec": {"containers": [container], **spec}, "status": {}}


def cluster(*nodes: Object, **placed: list[Object]) -> ClusterState:
    state = ClusterState()
    for each in nodes:
        state.put_node(each)
    for where, pods in placed.items():
        for each in pods:
            bound = {**each, "spec": {**each["spec"], "nodeName": where}}
            state.put_pod(bound)
    return state


def tried(wanted: Object, state: ClusterState) -> tuple[list[str], str]:
    fit = fits(Placed(wanted), state, {"default": {"team": "a"}, "other": {"team": "b"}})
    return sorted(host.name for host in fit.hosts), fit.message if not fit.hosts else ""


ANTI = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
    {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": HOST}]}}  # fmt: skip
NEAR = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
    {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": ZONE}]}}  # fmt: skip
ON_B = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
    {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["b"]}]}]}}}  # fmt: skip
PINNED = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]}}}  # fmt: skip
SPREAD = [{"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule",
           "labelSelector": {"matchLabels": {"app": "web"}}}]  # fmt: skip
PORT = {"ports": [{"containerPort": 80, "hostPort": 80}]}
TAINTED: Object = {"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]}


@pytest.mark.parametrize(
    ("wanted", "state", "message"),
    [
        (pod(), cluster(), "no nodes available to schedule pods"),
        (pod(cpu="3"), cluster(node("n1")), "1 Insufficient cpu"),
        (pod(cpu="1500m"), cluster(node("n1"), n1=[pod("a", cpu="600m")]), "1 Insufficient cpu"),
        (
            pod(cpu="3", container={"resources": {"requests": {"cpu": "3", "memory": "5Gi"}}}),
            cluster(node("n1")),
            "1 Insufficient cpu, 1 Insufficient memory",
        ),
        (pod(), cluster(node("n1"), n1=[pod("a"), pod("b"), pod("c")]), "1 Too many pods"),
        (pod(), cluster(node("n1", unschedulable=True)), "1 node(s) were unschedulable"),
        (pod(), cluster(node("n1", **TAINTED)), "1 node(s) had untolerated taint {dedicated: db}"),
        (pod(), cluster(node("n1", ready="False")), "1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }"),
        (
            pod(nodeSelector={"disk": "ssd"}),
            cluster(node("n1"), node("n2")),
            "2 node(s) didn't match Pod's node affinity/selector",
        ),
        (pod(affinity=ON_B), cluster(node("n1")), "1 node(s) didn't match Pod's node affinity/selector"),
        (
            pod(affinity=PINNED, cpu="3"),
            cluster(node("n1"), node("n2")),
            "1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]",
        ),
        (
            pod(container=PORT),
            cluster(node("n1"), n1=[pod("a", container=PORT)]),
            "1 node(s) didn't have free ports for the requested pod ports",
        ),
        (
            pod(affinity=ANTI),
            cluster(node("n1"), n1=[pod("a")]),
            "1 node(s) didn't match pod anti-affinity rules",
        ),
        (
            pod(),
            cluster(node("n1"), n1=[pod("a", affinity=ANTI)]),
            "1 node(s) didn't satisfy existing pods anti-affinity rules",
        ),
        (pod(affinity=NEAR), cluster(node("n1")), "1 node(s) didn't match pod affinity rules"),
        (
            pod(topologySpreadConstraints=SPREAD),
            cluster(node("n1"), node("n2", zone="b", room={"pods": "0"}), n1=[pod("a")]),
            "1 Too many pods, 1 node(s) didn't match pod topology spread constraints",
        ),
    ],
)
def test_why_not(wanted: Object, state: ClusterState, message: str) -> None:
    hosts, found = tried(wanted, state)
    assert hosts == []
    count = len(state.hosts)
    assert found.partition(" preemption: ")[0] == (f"0/{count} nodes are available: {message}." if count else message)


@pytest.mark.parametrize(
    ("wanted", "state", "message"),
    [
        (pod(cpu="3"), cluster(node("n1")), "1 Preemption is not helpful for scheduling"),
        (
            pod(cpu="1500m"),
            cluster(node("n1"), n1=[pod("a", cpu="600m")]),
            "1 No preemption victims found for incoming pod",
        ),
        (pod(nodeSelector={"disk": "ssd"}), cluster(node("n1")), "1 Preemption is not helpful for scheduling"),
        (
            pod(cpu="1500m"),
            cluster(node("n1"), node("n2", unschedulable=True), n1=[pod("a", cpu="600m")]),
            "1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling",
        ),
    ],
)
def test_whether_pushing_others_out_would_help(wanted: Object, state: ClusterState, message: str) -> None:
    count = len(state.hosts)
    assert tried(wanted, state)[1].partition(". ")[2] == f"preemption: 0/{count} nodes are available: {message}."


def test_where_pods_of_less_priority_stand_in_the_way_nothing_is_claimed() -> None:
    """Nobody is pushed out here, so no sentence says that it was tried."""
    _, found = tried(pod(cpu="1500m", priority=1000), cluster(node("n1"), n1=[pod("a", cpu="600m")]))
    assert found == "0/1 nodes are available: 1 Insufficient cpu."


def test_a_claim_is_of_a_kind_that_is_not_served() -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    hosts, found = tried(pod(volumes=volumes), cluster(node("n1")))
    assert hosts == []
    assert found.startswith('0/1 nodes are available: persistentvolumeclaim "data" not found. preemption: ')


@pytest.mark.parametrize(
    ("wanted", "state", "expected"),
    [
        (pod(cpu="1"), cluster(node("n1"), node("n2"), n1=[pod("a", cpu="1500m")]), ["n2"]),
        (pod(tolerations=[{"key": "dedicated", "operator": "Exists"}]), cluster(node("n1", **TAINTED)), ["n1"]),
        (
            pod(tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]),
            cluster(node("n1", unschedulable=True)),
            ["n1"],
        ),
        (pod(tolerations=[{"operator": "Exists"}]), cluster(node("n1", ready="Unknown")), ["n1"]),
        (pod(affinity=ON_B), cluster(node("n1"), node("n2", zone="b")), ["n2"]),
        (pod(affinity=PINNED), cluster(node("n1"), node("n2")), ["n2"]),
        (pod(affinity=ANTI), cluster(node("n1"), node("n2"), n1=[pod("a")]), ["n2"]),
        (pod(affinity=NEAR), cluster(node("n1"), node("n2", zone="b"), n2=[pod("d", app="db")]), ["n2"]),
        (pod(app="db", affinity=NEAR), cluster(node("n1"), node("n2")), ["n1", "n2"]),
        (
            pod(topologySpreadConstraints=SPREAD),
            cluster(node("n1"), node("n2", zone="b"), n1=[pod("a")]),
            ["n2"],
        ),
        (pod(container=PORT), cluster(node("n1"), node("n2"), n1=[pod("a", container=PORT)]), ["n2"]),
        (
            pod(container={"ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}]}),
            cluster(node("n1"), n1=[pod("a", container={"ports": [{"hostPort": 80, "hostIP": "10.0.0.2"}]})]),
            ["n1"],
        ),
    ],
)
def test_where(wanted: Object, state: ClusterState, expected: list[str]) -> None:
    assert tried(wanted, state)[0] == expected


def test_a_namespace_selector_reaches_other_namespaces() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": HOST}
    other = pod("a")
    other["metadata"]["namespace"] = "other"
    state = cluster(node("n1"), n1=[other])

    def anti(**more: Any) -> Object:
        terms = [{**term, **more}]
        return pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})

    assert tried(anti(), state)[0] == ["n1"]
    assert tried(anti(namespaces=["other"]), state)[0] == []
    assert tried(anti(namespaceSelector={}), state)[0] == []
    assert tried(anti(namespaceSelector={"matchLabels": {"team": "a"}}), state)[0] == ["n1"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": [{"resources": {"requests": {"cpu": "100m"}}}, {"resources": {"requests": {"cpu": "1"}}}]},
         {"cpu": 1100}),
        ({"containers": [{"resources": {"limits": {"memory": "1Gi"}}}]}, {"memory": 1 << 30}),
        ({"containers": [{"resources": {"requests": {"cpu": "1"}}}],
          "initContainers": [{"resources": {"requests": {"cpu": "3"}}}]}, {"cpu": 3000}),
        ({"containers": [{"resources": {"requests": {"cpu": "1"}}}],
          "initContainers": [{"restartPolicy": "Always", "resources": {"requests": {"cpu": "2"}}},
                             {"resources": {"requests": {"cpu": "500m"}}}]}, {"cpu": 3000}),
        ({"containers": [{}], "overhead": {"cpu": "10m"}}, {"cpu": 10}),
        ({"containers": [{}]}, {}),
    ],
)  # fmt: skip
def test_requests(spec: Object, expected: dict[str, int]) -> None:
    assert requests({"spec": spec}) == expected


def chosen(wanted: Object, state: ClusterState) -> str:
    placed = Placed(wanted)
    return best(placed, fits(placed, state, {}).hosts, state, {}).name


def test_siblings_go_apart() -> None:
    state = cluster(node("n1"), node("n2"), n1=[pod("a", owner="rs")], n2=[pod("b", cpu="1"), pod("c", cpu="500m")])
    assert chosen(pod(owner="rs"), state) == "n2"


def test_the_least_loaded_takes_a_stranger() -> None:
    state = cluster(node("n1"), node("n2"), n1=[pod("a", cpu="1")])
    assert chosen(pod(owner="rs"), state) == "n2"


def test_preferences_count() -> None:
    in_b = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["b"]}]}
    when = "preferredDuringSchedulingIgnoredDuringExecution"
    prefer = {"nodeAffinity": {when: [{"weight": 1, "preference": in_b}]}}
    state = cluster(node("n1"), node("n2", zone="b"), n2=[pod("a", cpu="1")])
    assert chosen(pod(affinity=prefer), state) == "n2"
    term = NEAR["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    near = {"podAffinity": {when: [{"weight": 10, "podAffinityTerm": term}]}}
    state = cluster(node("n1"), node("n2", zone="b"), n2=[pod("a", cpu="1", app="db")])
    assert chosen(pod(affinity=near), state) == "n2"
    unloved: Object = {"taints": [{"key": "a", "effect": "PreferNoSchedule"}]}
    assert chosen(pod(), cluster(node("n1"), node("n2", **unloved), n1=[pod("a", cpu="1")])) == "n1"


@given(st.lists(st.tuples(st.sampled_from(["place", "bind", "fail", "finish", "delete", "flap"]), st.integers(0, 7))))
def test_counts_agree_with_what_is_there_whatever_happened(steps: list[tuple[str, int]]) -> None:
    """Assumptions, bindings, refusals, ends and nodes that come and go: the sums are always those of the pods."""
    nodes = [node("n0", room={"pods": "99"}), node("n1", room={"pods": "99"})]
    state = cluster(*nodes)
    where: dict[str, str] = {}
    for step, number in steps:
        name, at = f"p{number}", f"n{number % 2}"
        wanted = pod(name, cpu=f"{number}00m", owner="rs", container={"ports": [{"hostPort": 1000 + number}]})
        if step == "place" and name not in where:
            state.assume(Placed(wanted), at)
            where[name] = at
        elif step == "bind":
            state.put_pod({**wanted, "spec": {**wanted["spec"], "nodeName": at}})
            where[name] = at
        elif step == "fail" and state.is_assumed(name):
            state.forget(name)
            where.pop(name)
        elif step == "finish":
            state.put_pod({**wanted, "spec": {**wanted["spec"], "nodeName": at}, "status": {"phase": "Failed"}})
            where.pop(name, None)
        elif step == "delete":
            state.drop_pod(name)
            where.pop(name, None)
        elif step == "flap":
            state.drop_node(at)
            state.put_node(nodes[number % 2])
    for name, host in state.hosts.items():
        there = sorted(each for each, at in where.items() if at == name)
        assert sorted(host.placed) == there
        assert host.used.get("cpu", 0) == sum(int(each[1:]) * 100 for each in there)
        assert host.owners["rs"] == len(there)
        assert sum(host.ports.values()) == len(there)
