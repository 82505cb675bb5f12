from clew.dataplane.nftables.explain import Explainer
from clew.dataplane.nftables.programme import Programme
from clew.dataplane.nftables.simulate import Packet, simulate
from clew.ir.balancing import Backend, Balancer, Frontend
from clew.ir.packets import Surroundings
from clew.ir.proxying import Settings


def programme() -> Programme:
    pods = (Backend("10.244.1.10", 8080, "here"), Backend("10.244.2.10", 8080, "elsewhere"))
    frontends = (
        Frontend("10.96.0.10", "TCP", 80, "internal", "Cluster", None, "spec.clusterIPs[0]"),
        Frontend("192.0.2.1", "TCP", 80, "external", "Local", ("10.0.0.0/8",), "status.loadBalancer.ingress[0].ip"),
        Frontend("", "TCP", 30080, "external", "Local", None, "spec.ports[0].nodePort"),
    )
    result = Programme(Settings(4, ("10.244.0.0/16",)))
    result.want({("shop", "web"): (Balancer("shop/web:http", 4, 0, pods, pods[:1], (), True, frontends),)})
    return result


def test_every_element_has_a_sentence_and_those_that_can_an_origin() -> None:
    elements = programme().wanted()
    explainer = Explainer("ip", elements)
    said = {
        name: [explainer.element(name, key, value) for key, value in entries.items()]
        for name, entries in elements.items()
    }
    assert said["service-ips"][0].origin == "Service shop/web:http"
    assert said["service-ips"][0].sentence == "10.96.0.10:80/TCP is a cluster address: 2 backends of shop/web:http"
    assert [each.sentence for each in said["endpoints"]] == [
        "backend 0 of shop/web:http is 10.244.1.10:8080",
        "backend 1 of shop/web:http is 10.244.2.10:8080",
        "backend 0 of shop/web:http local is 10.244.1.10:8080",
    ]
    assert {each.origin for each in said["endpoints"]} == {"Service shop/web:http"}
    assert said["source-ranges"][0].sentence.startswith("192.0.2.1:80/TCP from 10.0.0.0 to 10.255.255.255")
    assert said["hairpin"][0].sentence.startswith("10.244.1.10 reaches itself")
    assert all(each.sentence for entries in said.values() for each in entries)


def test_a_packets_way_is_told_rule_by_rule() -> None:
    wanted = programme()
    table, elements = wanted.structure(), wanted.wanted()
    packet = Packet("10.244.1.11", "10.96.0.10", "TCP", 80)
    outcomes = simulate(table, elements, packet, Surroundings(frozenset({"172.30.0.11"})))
    assert {outcome.destination for outcome in outcomes} == {"10.244.1.10", "10.244.2.10"}
    told = Explainer("ip", elements).packet(table, next(iter(outcomes)))
    assert told[0] == "nat-prerouting: jump services"
    assert any("@service-ips goto internal" in line for line in told)
    assert any(line.startswith("endpoints-2: ") and "dnat ip to" in line for line in told)
