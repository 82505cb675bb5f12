"""Names of services: the DNS specification's cases as tables."""

from clew.compile.dns import MOST, service_names
from clew.facts import endpointslice, service
from clew.ir.names import Record

DOMAIN = "cluster.local"


def made(spec: dict[str, object], *endpoints: dict[str, object]) -> set[tuple[str, str, str]]:
    fact = service.from_api({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
    part = endpointslice.from_api(
        {
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": list(endpoints),
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
    )
    return {(each.name, each.type, each.data) for each in service_names(DOMAIN, fact, [part]).records}


BASE = "web.shop.svc.cluster.local"
PORTS = [{"name": "http", "port": 80, "protocol": "TCP"}]


def test_a_cluster_ip_has_address_reverse_and_service_records() -> None:
    records = made({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"], "ports": PORTS})
    assert records == {
        (BASE, "A", "10.96.0.7"),
        (BASE, "AAAA", "fd00::7"),
        ("7.0.96.10.in-addr.arpa", "PTR", BASE),
        ("7." + "0." * 28 + "0.d.f.ip6.arpa", "PTR", BASE),
        (BASE, "SRV", f"0 100 80 {BASE}"),
        (f"_http._tcp.{BASE}", "SRV", f"0 100 80 {BASE}"),
    }


def test_a_headless_service_is_its_ready_endpoints() -> None:
    records = made(
        {"clusterIP": "None", "ports": PORTS},
        {"addresses": ["10.244.1.5"], "conditions": {"ready": True}},
        {"addresses": ["10.244.2.6"], "conditions": {"ready": True}, "hostname": "db-0"},
        {"addresses": ["10.244.2.7"], "conditions": {"ready": False}},
    )
    assert (BASE, "A", "10.244.1.5") in records
    assert (f"10-244-1-5.{BASE}", "A", "10.244.1.5") in records
    assert (f"db-0.{BASE}", "A", "10.244.2.6") in records
    assert ("6.2.244.10.in-addr.arpa", "PTR", f"db-0.{BASE}") in records
    assert {data for _, kind, data in records if kind == "SRV"} == {
        f"0 50 8080 10-244-1-5.{BASE}",
        f"0 50 8080 db-0.{BASE}",
    }
    assert not any("10.244.2.7" in data for _, _, data in records)


def test_a_slice_of_very_many_ports_and_endpoints_ends_no_server() -> None:
    """It is a megabyte of JSON, and was twenty million records."""
    fact = service.from_api({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"clusterIP": "None"}})
    part = endpointslice.from_api(
        {
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [f"10.244.{n >> 8}.{n & 255}"]} for n in range(1000)],
            "ports": [{"name": f"p{n}", "port": n, "protocol": "TCP"} for n in range(1, 20_001)],
        }
    )
    records = service_names(DOMAIN, fact, [part]).records
    assert len([each for each in records if each.type == "SRV" and each.name == f"_p1._tcp.{BASE}"]) == 1000
    assert len([each for each in records if each.type == "SRV"]) == 2 * MOST, "of each port by its name, and of all"


def test_not_ready_endpoints_are_published_where_asked() -> None:
    records = made(
        {"clusterIP": "None", "publishNotReadyAddresses": True},
        {"addresses": ["10.244.2.7"], "conditions": {"ready": False}},
    )
    assert (BASE, "A", "10.244.2.7") in records


def test_an_external_name_is_an_alias() -> None:
    assert made({"type": "ExternalName", "externalName": "db.example.org."}) == {(BASE, "CNAME", "db.example.org")}


def test_what_is_gone_or_unreadable_has_no_names() -> None:
    assert service_names(DOMAIN, None, []).records == ()
    _, broken = service.decode(b'{"metadata":{"name":"x","namespace":"y"},"spec":{"ports":"no"}}')
    assert service_names(DOMAIN, broken, []).records == ()


def test_records_are_not_doubled_by_two_slices() -> None:
    fact = service.from_api({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"clusterIP": "None"}})
    part = endpointslice.from_api(
        {"metadata": {"name": "a", "namespace": "shop"}, "endpoints": [{"addresses": ["10.244.1.5"]}]}
    )
    records = service_names(DOMAIN, fact, [part, part]).records
    assert records.count(Record(BASE, "A", "10.244.1.5")) == 1
