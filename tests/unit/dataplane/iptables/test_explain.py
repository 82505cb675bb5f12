"""Rules and packets explained: from the kernel's words back to the Service."""

import pytest

from clew.base.xtables import Ruleset
from clew.dataplane.iptables.explain import Explainer
from clew.dataplane.iptables.programme import Programme
from clew.dataplane.iptables.simulate import Outcome, simulate
from clew.ir.balancing import Backend, Balancer, Frontend
from clew.ir.packets import Packet, Surroundings
from clew.ir.proxying import Settings

WEB = Balancer(
    origin="default/web:http",
    family=4,
    affinity=0,
    cluster=(Backend("10.244.1.10", 8080, "here"), Backend("10.244.2.10", 8080, "elsewhere")),
    local=(),
    others=(),
    any_backend=True,
    frontends=(
        Frontend("10.96.0.10", "TCP", 80, "internal", "Cluster", None, "spec.clusterIPs[0]"),
        Frontend("", "TCP", 30080, "external", "Cluster", None, "spec.ports[0].nodePort"),
        Frontend("192.0.2.10", "TCP", 80, "external", "Cluster", ("10.0.0.0/8",), "status.loadBalancer.ingress[0].ip"),
    ),
)
EMPTY = Balancer(
    "default/empty", 4, 0, (), (), (), False,
    (Frontend("10.96.0.11", "TCP", 80, "internal", "Cluster", None, "spec.clusterIPs[0]"),),
)  # fmt: skip
HERE = Surroundings(frozenset({"172.30.0.11"}))


@pytest.fixture(params=[0, 1001], ids=["small", "large"])
def tables(request: pytest.FixtureRequest) -> Ruleset:
    """A small cluster's rules, and a large one's, whose endpoints' rules say nothing."""
    programme = Programme(Settings(4, ("10.244.0.0/16",)))
    crowd = tuple(Backend(f"10.1.{at >> 8}.{at & 255}", 80, "elsewhere") for at in range(request.param))
    frontend = Frontend("10.97.0.1", "TCP", 80, "internal", "Cluster", None, "spec.clusterIPs[0]")
    many = Balancer("default/many", 4, 0, crowd, (), (), bool(crowd), (frontend,))
    programme.want({("default", "web"): (WEB,), ("default", "empty"): (EMPTY,), ("default", "many"): (many,)})
    return programme.wanted()


def explained(tables: Ruleset, part: str, word: str) -> tuple[str, str]:
    """Origin and sentence of the first rule that has the word, in the chains whose names begin so."""
    explainer = Explainer(tables)
    chain, rule = next(
        (chain, rule)
        for chains in tables.values()
        for chain, rules in chains.items()
        if chain.startswith(part)
        for rule in rules
        if word in rule
    )
    found = explainer.rule(chain, rule)
    return found.origin, found.sentence


@pytest.mark.parametrize(
    ("chain", "word", "origin", "sentence"),
    [
        ("KUBE-SERVICES", "10.96.0.10/32", "Service default/web:http", "one of all its backends, by chance"),
        ("KUBE-SERVICES", "192.0.2.10/32", "Service default/web:http", "only some sources may use this load balancer"),
        ("KUBE-NODEPORTS", "30080", "Service default/web:http", "what comes to an address from outside"),
        ("KUBE-SEP-", "10.244.2.10:8080", "Service default/web:http", "this is the backend 10.244.2.10:8080"),
        ("KUBE-EXT-", "-j KUBE-MARK-MASQ", "Service default/web:http", "leaves with the node's own address"),
        ("KUBE-SERVICES", "10.96.0.11/32", "Service default/empty", "refused: default/empty has no endpoints"),
        ("KUBE-PROXY-FIREWALL", "192.0.2.10/32", "Service default/web:http", "dropped: default/web:http traffic not"),
        ("PREROUTING", "KUBE-SERVICES", "", "goes to KUBE-SERVICES"),
    ],
)
def test_a_rule_names_its_service(tables: Ruleset, chain: str, word: str, origin: str, sentence: str) -> None:
    found = explained(tables, chain, word)
    assert found[0] == origin
    assert found[1].startswith(sentence)


def test_a_packets_rules_are_told_in_order(tables: Ruleset) -> None:
    packet = Packet("172.30.0.100", "172.30.0.11", "TCP", 30080, 0, "eth0")
    outcomes = simulate(tables, packet, HERE)
    assert {(each.destination, each.masqueraded) for each in outcomes} == {("10.244.1.10", True), ("10.244.2.10", True)}
    told = Explainer(tables).packet(min(outcomes, key=by_destination))
    chains = [line.partition(":")[0] for line in told]
    assert chains[:3] == ["PREROUTING", "KUBE-SERVICES", "KUBE-NODEPORTS"]
    assert chains[-1] == "KUBE-POSTROUTING"
    assert "--to-destination 10.244.1.10:8080" in "\n".join(told)


def by_destination(outcome: Outcome) -> str:
    return outcome.destination
