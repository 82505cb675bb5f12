"""The Kubernetes DNS specification 1.1.0 and CoreDNS's additions: questions and answers over the wire.

A line of the table: name and type asked, and the answer as dnspython reads it. `NXDOMAIN` and `NODATA` are negative
answers, both with the zone's SOA; a name without a final dot stands below `shop.svc.cluster.local`.
"""

import asyncio
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import pytest

from .world import Cluster, Running, a_service, a_slice, ask, named, until

HTTP = {"name": "http", "port": 80, "protocol": "TCP"}
SIP = {"name": "sip", "port": 5060, "protocol": "UDP"}
NAMELESS = {"port": 9000, "protocol": "TCP"}

SERVICES = [
    a_service("web", clusterIPs=["10.96.0.7", "fd00:96::7"], ports=[HTTP, SIP]),
    a_service("four", clusterIPs=["10.96.0.8"], ports=[NAMELESS]),
    a_service("empty", clusterIPs=["10.96.0.9"], ports=[HTTP]),
    a_service("db", clusterIPs=["None"], clusterIP="None", ports=[HTTP]),
    a_service("none", clusterIPs=["None"], clusterIP="None", ports=[HTTP]),
    a_service("early", clusterIPs=["None"], publishNotReadyAddresses=True),
    a_service("out", type="ExternalName", externalName="elsewhere.test."),
    a_service("in", type="ExternalName", externalName="web.shop.svc.cluster.local"),
    a_service("ipname", type="ExternalName", externalName="192.0.2.9"),
    a_service("web", "other", clusterIPs=["10.96.1.7"], ports=[HTTP]),
    a_service("kube-dns", "kube-system", clusterIPs=["10.96.0.10"], ports=[{"name": "dns", "port": 53}]),
]
SLICES = [
    a_slice("web-1", "web", {"addresses": ["10.244.1.4"], "hostname": "first"}, ports=[{"name": "http", "port": 8080}]),
    a_slice(
        "db-1",
        "db",
        {"addresses": ["10.244.1.5"], "hostname": "db-0", "targetRef": {"kind": "Pod", "name": "db-0"}},
        {"addresses": ["10.244.1.6"], "targetRef": {"kind": "Pod", "name": "db-anonymous"}},
        {"addresses": ["10.244.1.7"], "conditions": {"ready": False}},
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
    ),
    a_slice(
        "db-2",
        "db",
        {"addresses": ["fd00:244::5"], "hostname": "db-0"},
        addressType="IPv6",
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
    ),
    a_slice("none-1", "none", {"addresses": ["10.244.1.8"], "conditions": {"ready": False}}),
    a_slice("early-1", "early", {"addresses": ["10.244.1.9"], "conditions": {"ready": False}}),
    a_slice("dns-1", "kube-dns", {"addresses": ["192.0.2.77"]}, where="kube-system"),
]
PODS = [
    named(
        "db-0",
        status={"phase": "Running", "podIP": "10.244.1.5", "podIPs": [{"ip": "10.244.1.5"}, {"ip": "fd00:244::5"}]},
    ),
    named("over", status={"phase": "Succeeded", "podIP": "10.244.1.50"}),
]
NAMESPACES = ("shop", "other", "bare", "kube-system")

TABLE = """
cluster.local. SOA             ns.dns.cluster.local. hostmaster.cluster.local.
cluster.local. NS              kube-dns.kube-system.svc.cluster.local.
cluster.local. A               NODATA
dns-version.cluster.local. TXT "1.1.0"
dns-version.cluster.local. A   NODATA
ns.dns.cluster.local. A        10.96.0.10
svc.cluster.local. A           NODATA
pod.cluster.local. A           NODATA
shop.svc.cluster.local. A      NODATA
bare.svc.cluster.local. A      NODATA
nowhere.svc.cluster.local. A   NXDOMAIN
x.cluster.local. A             NXDOMAIN
web A                          10.96.0.7
WEB.Shop.SVC.cluster.local. A  10.96.0.7
web AAAA                       fd00:96::7
web TXT                        NODATA
web MX                         NODATA
web CNAME                      NODATA
web HTTPS                      NODATA
web SRV                        0 100 80 web.shop.svc.cluster.local. | 0 100 5060 web.shop.svc.cluster.local.
web.other.svc.cluster.local. A 10.96.1.7
web.bare.svc.cluster.local. A  NXDOMAIN
nothere A                      NXDOMAIN
nothere TXT                    NXDOMAIN
four AAAA                      NODATA
four SRV                       0 100 9000 four.shop.svc.cluster.local.
empty A                        10.96.0.9
_http._tcp.web SRV             0 100 80 web.shop.svc.cluster.local.
_sip._udp.web SRV              0 100 5060 web.shop.svc.cluster.local.
_sip._tcp.web SRV              NXDOMAIN
_tcp.web SRV                   NODATA
_http._tcp.web A               NODATA
first.web A                    10.244.1.4
second.web A                   NXDOMAIN
a.first.web A                  NXDOMAIN
db A                           10.244.1.5 | 10.244.1.6
db AAAA                        fd00:244::5
db-0.db A                      10.244.1.5
db-0.db AAAA                   fd00:244::5
10-244-1-6.db A                10.244.1.6
10-244-1-6.db AAAA             NODATA
10-244-1-7.db A                NXDOMAIN
_http._tcp.db SRV 0 50 8080 db-0.DB | 0 50 8080 10-244-1-6.DB
none A                         NXDOMAIN
early A                        10.244.1.9
10-244-1-9.early A             10.244.1.9
out CNAME                      elsewhere.test.
out A                          elsewhere.test. | 192.0.2.1
out AAAA                       elsewhere.test.
x.out A                        NXDOMAIN
*.web A                        NXDOMAIN
*.shop.svc.cluster.local. A    NXDOMAIN
web.*.svc.cluster.local. A     NXDOMAIN
any.any.svc.cluster.local. A   NXDOMAIN
_http.*.web SRV                NXDOMAIN
cluster.local. AXFR            REFUSED
shop.svc.cluster.local. IXFR   REFUSED
in A                           web.shop.svc.cluster.local. | 10.96.0.7
in CNAME                       web.shop.svc.cluster.local.
in TXT                         web.shop.svc.cluster.local.
ipname A                       NXDOMAIN
10-244-1-5.shop.pod.cluster.local. A     10.244.1.5
10-244-1-5.shop.pod.cluster.local. AAAA  NODATA
fd00-244--5.shop.pod.cluster.local. AAAA fd00:244::5
10-244-1-5.nowhere.pod.cluster.local. A  NXDOMAIN
shop.pod.cluster.local. A                NODATA
hello.shop.pod.cluster.local. A          NXDOMAIN
7.0.96.10.in-addr.arpa. PTR              web.shop.svc.cluster.local.
7.0.96.10.in-addr.arpa. A                NODATA
5.1.244.10.in-addr.arpa. PTR             db-0.db.shop.svc.cluster.local.
6.1.244.10.in-addr.arpa. PTR             10-244-1-6.db.shop.svc.cluster.local.
7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa. PTR web.shop.svc.cluster.local.
99.0.96.10.in-addr.arpa. PTR             REFUSED
elsewhere.test. A                        192.0.2.1
"""
COREFILE = """.:PORT {
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    pods insecure
    ttl 30
    startup_timeout 0s
    fallthrough in-addr.arpa ip6.arpa
  }
  hosts {
    192.0.2.1 elsewhere.test
    fallthrough
  }
}"""


def rows() -> list[tuple[str, str, str]]:
    found = []
    for line in TABLE.strip().splitlines():
        name, kind, expected = line.replace("DB", "db.shop.svc.cluster.local.").split(maxsplit=2)
        found.append((name if name.endswith(".") else f"{name}.shop.svc.cluster.local.", kind, expected.strip()))
    return found


def seen(answer: dns.message.Message) -> str:
    """An answer in the words of the table."""
    if answer.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        return dns.rcode.to_text(answer.rcode())
    if not answer.answer:
        assert [each.rdtype for each in answer.authority] == [dns.rdatatype.SOA], answer
        return "NODATA" if answer.rcode() == dns.rcode.NOERROR else "NXDOMAIN"
    return " | ".join(record.to_text() for rrset in answer.answer for record in rrset)


def same(found: str, expected: str) -> bool:
    if found.startswith("ns.dns."):
        return found.startswith(expected)
    return sorted(found.split(" | ")) == sorted(expected.split(" | "))


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_the_table(running: Running, tcp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.app.dns.own_addresses", lambda: frozenset({"192.0.2.77"}))
    async with running(COREFILE) as (program, port):
        assert (await ask(port, "web.shop.svc.cluster.local.")).rcode() == dns.rcode.SERVFAIL  # not yet synced
        Cluster(program).has(namespaces=NAMESPACES, services=SERVICES, slices=SLICES)
        wrong = []
        for round_trip in range(2):  # the second answer comes from what the first left behind
            for name, kind, expected in rows():
                answer = await ask(port, name, kind, tcp=tcp)
                assert str(answer.question[0].name) == name, "the asker's capitals are kept"
                if not same(seen(answer), expected):
                    wrong.append((round_trip, name, kind, expected, seen(answer)))
        assert wrong == []


async def test_srv_answers_bring_addresses_and_negative_answers_a_lifetime(running: Running) -> None:
    async with running(COREFILE) as (program, port):
        Cluster(program).has(namespaces=NAMESPACES, services=SERVICES, slices=SLICES)
        answer = await ask(port, "_http._tcp.db.shop.svc.cluster.local.", "SRV")
        extra = {(str(each.name), record.to_text()) for each in answer.additional for record in each}
        assert ("db-0.db.shop.svc.cluster.local.", "fd00:244::5") in extra
        assert ("10-244-1-6.db.shop.svc.cluster.local.", "10.244.1.6") in extra
        assert answer.flags & dns.flags.AA
        negative = await ask(port, "nothere.shop.svc.cluster.local.")
        assert negative.authority[0].ttl == 30
        soa = negative.authority[0][0]
        assert (soa.refresh, soa.retry, soa.expire, soa.minimum) == (7200, 1800, 86400, 30)
        assert (await ask(port, "web.shop.svc.cluster.local.")).answer[0].ttl == 30


OPTIONS: list[tuple[str, str, str, str]] = [
    ("pods disabled", "10-244-1-5.shop.pod.cluster.local.", "A", "NXDOMAIN"),
    ("pods disabled", "shop.pod.cluster.local.", "A", "NXDOMAIN"),
    ("pods verified", "10-244-1-5.shop.pod.cluster.local.", "A", "10.244.1.5"),
    ("pods verified", "fd00-244--5.shop.pod.cluster.local.", "AAAA", "fd00:244::5"),
    ("pods verified", "10-244-1-5.other.pod.cluster.local.", "A", "NXDOMAIN"),
    ("pods verified", "10-244-1-50.shop.pod.cluster.local.", "A", "NXDOMAIN"),
    ("endpoint_pod_names", "db-anonymous.db.shop.svc.cluster.local.", "A", "10.244.1.6"),
    ("endpoint_pod_names", "10-244-1-6.db.shop.svc.cluster.local.", "A", "NXDOMAIN"),
    ("ignore empty_service", "empty.shop.svc.cluster.local.", "A", "NXDOMAIN"),
    ("ignore empty_service", "web.shop.svc.cluster.local.", "A", "10.96.0.7"),
    ("namespaces other", "web.other.svc.cluster.local.", "A", "10.96.1.7"),
    ("namespaces other", "web.shop.svc.cluster.local.", "A", "NXDOMAIN"),
    ("namespaces other", "7.0.96.10.in-addr.arpa.", "PTR", "NXDOMAIN"),
    ("fallthrough", "x.cluster.local.", "A", "REFUSED"),
    ("fallthrough other.test", "x.cluster.local.", "A", "NXDOMAIN"),
]


@pytest.mark.parametrize(("option", "name", "kind", "expected"), OPTIONS)
async def test_an_option(running: Running, option: str, name: str, kind: str, expected: str) -> None:
    corefile = f".:PORT {{\n kubernetes cluster.local in-addr.arpa {{\n {option}\n startup_timeout 0s\n }}\n}}"
    async with running(corefile) as (program, port):
        Cluster(program).has(namespaces=NAMESPACES, services=SERVICES, slices=SLICES, pods=PODS)
        assert same(seen(await ask(port, name, kind)), expected)


async def test_a_change_shows_at_once_and_only_where_it_belongs(running: Running) -> None:
    """Each state is asked twice before the next, so that anything remembered would show."""
    async with running(COREFILE) as (program, port):
        cluster = Cluster(program)
        questions = [
            ("db.shop.svc.cluster.local.", "A"),
            ("7.1.244.10.in-addr.arpa.", "PTR"),
            ("web.shop.svc.cluster.local.", "A"),
            ("_http._tcp.db.shop.svc.cluster.local.", "SRV"),
            ("in.shop.svc.cluster.local.", "A"),
            ("bare.svc.cluster.local.", "A"),
        ]

        async def state(**objects: Any) -> list[str]:
            cluster.has(**{"namespaces": NAMESPACES, "services": SERVICES, "slices": SLICES, **objects})
            one = [seen(await ask(port, *question)) for question in questions]
            two = [seen(await ask(port, *question)) for question in questions]
            assert one == two
            return one

        before = await state()
        ready = a_slice("db-1", "db", {"addresses": ["10.244.1.7"]}, ports=[{"name": "http", "port": 8080}])
        changed = await state(slices=[ready])
        assert changed[:2] == ["10.244.1.7", "10-244-1-7.db.shop.svc.cluster.local."]
        assert changed[2] == before[2]
        assert changed[3] == "0 100 8080 10-244-1-7.db.shop.svc.cluster.local."
        moved = [a_service("web", clusterIPs=["10.96.0.70"]), *SERVICES[1:]]
        assert (await state(services=moved))[4].endswith("10.96.0.70"), "an alias follows its target"
        gone = await state(services=[], slices=[], namespaces=["shop"])
        assert gone == ["NXDOMAIN", "REFUSED", "NXDOMAIN", "NXDOMAIN", "NXDOMAIN", "NXDOMAIN"]
        assert await state() == before


async def test_a_reload_keeps_what_is_known(running: Running) -> None:
    """No answer in between is SERVFAIL, though the API server is away."""
    async with running(COREFILE) as (program, port):
        Cluster(program).has(namespaces=NAMESPACES, services=SERVICES, slices=SLICES)
        before = program.generation
        path = program.options.conf
        path.write_text(path.read_text().replace("ttl 30", "ttl 7"))
        assert program.context.corefile_changed is not None
        await program.context.corefile_changed()
        answers = []
        await until(lambda: program.generation is not before)
        async with asyncio.timeout(30):
            while not answers or answers[-1].answer[0].ttl != 7:
                answers.append(await ask(port, "web.shop.svc.cluster.local."))
        assert {answer.rcode() for answer in answers} == {dns.rcode.NOERROR}
