"""The fast path's decisions beside the server's answers: what it answers, the server answers so, byte for byte.

Here in Python (simulate); tests/ports/dns/test_fast_path.py holds the BPF program to the same.
"""

import dns.message
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clew.app.dns import Program
from clew.dataplane.dns_fast_path import render
from clew.dataplane.dns_fast_path.explain import explain
from clew.dataplane.dns_fast_path.objects import Outcome
from clew.dataplane.dns_fast_path.simulate import Decision, Knowledge, decide
from clew.ir.names import KnownZone
from clew.node.fast_names import FastNames, by_namespace
from clew.servers.dns.datagrams import Peer
from clew.servers.dns.quick import Quick

from .test_specification import COREFILE, NAMESPACES, SERVICES, SLICES, rows
from .world import Cluster, Running, a_service

ZONE = KnownZone("cluster.local", 30, "Corefile")


def knowledge(program: Program, zone: KnownZone = ZONE) -> Knowledge:
    """What an agent would hold beside this server."""
    (feed,) = program.feeds.values()
    names = FastNames(zone, feed.services, feed.namespaces, by_namespace(feed.services))
    names.feed()
    entry = render.zone(zone)
    assert entry is not None
    (plugin,) = program.generation.kubernetes
    return Knowledge(names.entries, entry, plugin.cluster[0].serial)


def served(program: Program, raw: bytes) -> bytes:
    (listener,) = program.listeners.values()
    found = listener._reply(raw, Peer("10.244.1.9", 40_000, ("10.244.1.9", 40_000), b""), quick=Quick(), tcp=False)
    assert isinstance(found, bytes)
    return found


def check(program: Program, known: Knowledge, raw: bytes) -> Decision:
    decision = decide(known, raw)
    assert decision.outcome.answered == bool(decision.answer)
    if decision.answer:
        assert decision.answer.hex() == served(program, raw).hex()
    return decision


def query(name: str, kind: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, kind, **{"use_edns": 0, **options}).to_wire()  # type: ignore[arg-type]


ANSWERED = {  # of the specification's table, those that need no server
    "cluster.local. A": Outcome.NODATA,
    "dns-version.cluster.local. A": Outcome.NODATA,
    "svc.cluster.local. A": Outcome.NODATA,
    "pod.cluster.local. A": Outcome.NODATA,
    "shop.svc.cluster.local. A": Outcome.NODATA,
    "bare.svc.cluster.local. A": Outcome.NODATA,
    "nowhere.svc.cluster.local. A": Outcome.NXDOMAIN,
    "x.cluster.local. A": Outcome.NXDOMAIN,
    "web.shop.svc.cluster.local. A": Outcome.ADDRESS,
    "WEB.Shop.SVC.cluster.local. A": Outcome.ADDRESS,
    "web.shop.svc.cluster.local. AAAA": Outcome.ADDRESS,
    "web.other.svc.cluster.local. A": Outcome.ADDRESS,
    "web.bare.svc.cluster.local. A": Outcome.NXDOMAIN,
    "nothere.shop.svc.cluster.local. A": Outcome.NXDOMAIN,
    "four.shop.svc.cluster.local. AAAA": Outcome.NODATA,
    "empty.shop.svc.cluster.local. A": Outcome.ADDRESS,
    "*.shop.svc.cluster.local. A": Outcome.NXDOMAIN,
    "web.*.svc.cluster.local. A": Outcome.NXDOMAIN,
    "any.any.svc.cluster.local. A": Outcome.NXDOMAIN,
}


async def test_the_specifications_table(running: Running) -> None:
    async with running(COREFILE) as (program, _):
        Cluster(program).has(namespaces=NAMESPACES, services=SERVICES, slices=SLICES)
        known = knowledge(program)
        answered = {}
        for name, kind, _expected in rows():
            decision = check(program, known, query(name, kind))
            if decision.answer:
                answered[f"{name} {kind}"] = decision.outcome
        assert answered == ANSWERED


LABELS = (
    "web", "WEB", "four", "db", "db-0", "out", "in", "none", "nothere", "shop", "Shop", "other", "bare", "svc", "pod",
    "dns", "ns", "hostmaster", "dns-version", "_http", "_tcp", "com", "example", "10-244-1-5", "cluster", "local",
    "localhost", "a" * 63, "b" * 40,
)  # fmt: skip
ENDS = (
    "shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "Cluster.local", "cluster.LOCAL", "CLUSTER.Local",
    "ns.dns.cluster.local", "dns.Cluster.local", "xcluster.local", "local", "", "7.0.96.10.in-addr.arpa",
)  # fmt: skip


@st.composite
def names(draw: st.DrawFn) -> bytes:
    labels = draw(st.lists(st.sampled_from(LABELS), max_size=5))
    ends = draw(st.sampled_from(ENDS)).split(".")
    if draw(st.integers(0, 3)) == 0:
        labels, ends = draw(st.sampled_from((["web"], ["four"], ["empty"], ["db"]))), ENDS[0].split(".")
    raw = b"".join(bytes((len(each),)) + each.encode() for each in (*labels, *ends) if each)
    if draw(st.booleans()):
        flips = draw(st.lists(st.integers(0, max(len(raw) - 1, 0)), max_size=4))
        raw = bytes(c ^ 32 if at in flips and bytes((c,)).isalpha() else c for at, c in enumerate(raw))
    return raw + b"\0"


COOKIE, SUBNET = b"\0\x0a\0\x08abcdefgh", b"\0\x08\0\x04\0\1\0\0"


def opt(size: int = 1232, ttl: int = 0, data: bytes = b"") -> bytes:
    return b"\0\0\x29" + size.to_bytes(2) + ttl.to_bytes(4) + len(data).to_bytes(2) + data


@st.composite
def queries(draw: st.DrawFn) -> bytes:
    """Plain ones, or with one or two things out of the way."""
    odd = draw(
        st.sets(st.sampled_from(("flags", "counts", "kind", "class", "edns", "count", "tail", "cut")), max_size=2)
    )
    if draw(st.booleans()):
        odd = set()
    flags = draw(st.sampled_from((0x0100, 0x0120, 0, 0x0110, 0x0010)))
    flags = draw(st.sampled_from((0x07FF, 0x8100, 0x2800))) if "flags" in odd else flags
    counts = draw(st.sampled_from(((2, 0, 0), (1, 1, 0), (0, 0, 0), (1, 0, 1)))) if "counts" in odd else (1, 0, 0)
    kind = draw(st.sampled_from((33, 255, 6, 16, 65, 2))) if "kind" in odd else draw(st.sampled_from((1, 28)))
    qclass = draw(st.sampled_from((3, 255))) if "class" in odd else 1
    extra = draw(st.sampled_from((b"", opt(), opt(0), opt(65535, 0x8000))))
    if "edns" in odd:
        strange = (opt(data=COOKIE), opt(data=SUBNET), opt(ttl=0x10000), opt(ttl=0x4000), opt(ttl=1 << 24), opt() * 2)
        extra = draw(st.sampled_from(strange))
    count = draw(st.integers(0, 2)) if "count" in odd else min(len(extra), 1)
    head = b"".join(each.to_bytes(2) for each in (draw(st.integers(0, 65535)), flags, *counts, count))
    raw = head + draw(names()) + kind.to_bytes(2) + qclass.to_bytes(2) + extra + (b"x" if "tail" in odd else b"")
    return raw[: draw(st.integers(0, len(raw)))] if "cut" in odd else raw


@pytest.mark.parametrize("domain", ["cluster.local", "k8s.site-7.example", "lan"])
async def test_whatever_is_asked_the_server_answers_so(running: Running, domain: str) -> None:
    async with running(COREFILE.replace("cluster.local", domain)) as (program, _):
        Cluster(program).has(namespaces=NAMESPACES, services=SERVICES, slices=SLICES)
        known = knowledge(program, KnownZone(domain, 30, "Corefile"))
        written = b"".join(bytes((len(each),)) + each.encode() for each in domain.split(".")) + b"\0"
        outcomes = set()

        @settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
        @given(queries())
        def hold(raw: bytes) -> None:
            outcomes.add(check(program, known, raw.replace(b"\7cluster\5local\0", written)).outcome)

        hold()
        assert outcomes >= set(Outcome) - {Outcome.UNSURE, Outcome.LONG, Outcome.FAILED}


async def test_a_namespace_takes_its_services_with_it(running: Running) -> None:
    async with running(COREFILE) as (program, _):
        cluster = Cluster(program)
        cluster.has(namespaces=("shop",), services=SERVICES)
        feed = cluster.feed
        kept = FastNames(ZONE, feed.services, feed.namespaces, by_namespace(feed.services))
        assert b"\3web\4shop\3svc" in kept.feed()
        assert b"\3web\5other\3svc" not in kept.entries
        cluster.has(namespaces=("other",), services=SERVICES)
        changes = kept.feed()
        assert changes[b"\3web\4shop\3svc"] is None
        assert changes[b"\4shop\3svc"] is None
        assert changes[b"\3web\5other\3svc"] is not None
        assert b"\x0bdns-version" not in changes, "what did not change"
        whole = FastNames(ZONE, feed.services, feed.namespaces, by_namespace(feed.services))
        whole.feed()
        assert whole.entries == kept.entries
        cluster.has(namespaces=("other",), services=[a_service("web", "other", clusterIPs=["10.96.1.8"])])
        assert [each.a for each in kept.feed().values() if each] == [bytes((10, 96, 1, 8))]


async def test_a_verdict_in_a_sentence(running: Running) -> None:
    async with running(COREFILE) as (program, _):
        Cluster(program).has(namespaces=NAMESPACES, services=SERVICES, slices=SLICES)
        known = knowledge(program)
        assert "Service shop/web" in explain(known, query("web.shop.svc.cluster.local."))
        assert "no such name" in explain(known, query("example.com.shop.svc.cluster.local."))
        assert "knows more of this name, from Service shop/db" in explain(known, query("db.shop.svc.cluster.local."))
        assert "without such an address, from Namespace shop" in explain(known, query("shop.svc.cluster.local."))
        assert "outside the zone" in explain(known, query("example.com."))
