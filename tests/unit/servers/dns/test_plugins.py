"""Each plugin at work in a whole server: a Corefile, questions, answers."""

import asyncio
import re
import socket
import sys
import urllib.request
from pathlib import Path

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import pytest
from tests.free_port import free_port

from clew.app.dns import Program
from clew.base.clock import SystemClock
from clew.base.errors import UserError
from clew.base.metrics import Registry
from clew.servers.dns import wire
from clew.servers.dns.chain import Context, Site
from clew.servers.dns.plugins.prometheus import Prometheus
from clew.servers.dns.server import bind

from .test_specification import same, seen
from .world import Cluster, Hands, Running, a_service, ask, named, until, until_true

HOSTS = "hosts {\n 192.0.2.1 www.example\n 192.0.2.2 www.example db.example\n 2001:db8::1 www.example\n fallthrough\n }"
ZONE = """
$ORIGIN zone.test.
$TTL 300
@       IN SOA ns hostmaster ( 7 3600 600 86400 60 )   ; the start
        NS ns
ns      A 192.0.2.53
www  60 A 192.0.2.80
        AAAA 2001:db8::80
        TXT "two words" plain
mail    MX 10 www
srv     SRV 1 2 80 www
alias   CNAME www
far     CNAME www.example.
*.wild  A 192.0.2.99
a.b.wild A 192.0.2.98
sub     NS ns.sub
ns.sub  A 192.0.2.54
odd     TYPE65 \\# 3 000100
quote   TXT "semi;colon (and) brace"
"""

# the body of a server block, name, type, what is answered
CASES: list[tuple[str, str, str, str]] = [
    (HOSTS, "WWW.example.", "A", "192.0.2.1 | 192.0.2.2"),
    (HOSTS, "www.example.", "AAAA", "2001:db8::1"),
    (HOSTS, "www.example.", "MX", "EMPTY"),
    (HOSTS, "2.2.0.192.in-addr.arpa.", "PTR", "www.example. | db.example."),
    (HOSTS, "other.example.", "A", "REFUSED"),
    ("hosts {\n no_reverse\n 192.0.2.1 a.b\n fallthrough\n }", "1.2.0.192.in-addr.arpa.", "PTR", "REFUSED"),
    ("hosts other.test {\n 192.0.2.1 a.b\n }", "a.b.", "A", "REFUSED"),
    ("hosts HOSTSFILE {\n fallthrough\n }", "filed.test.", "A", "192.0.2.44"),
    ("file ZONEFILE zone.test", "zone.test.", "SOA", "ns.zone.test. hostmaster.zone.test. 7 3600 600 86400 60"),
    ("file ZONEFILE zone.test", "zone.test.", "NS", "ns.zone.test."),
    ("file ZONEFILE zone.test", "zone.test.", "A", "NODATA"),
    ("file ZONEFILE zone.test", "www.zone.test.", "A", "192.0.2.80"),
    ("file ZONEFILE zone.test", "www.zone.test.", "AAAA", "2001:db8::80"),
    ("file ZONEFILE zone.test", "www.zone.test.", "TXT", '"two words" "plain"'),
    ("file ZONEFILE zone.test", "quote.zone.test.", "TXT", '"semi;colon (and) brace"'),
    ("file ZONEFILE zone.test", "mail.zone.test.", "MX", "10 www.zone.test."),
    ("file ZONEFILE zone.test", "srv.zone.test.", "SRV", "1 2 80 www.zone.test."),
    ("file ZONEFILE zone.test", "alias.zone.test.", "A", "www.zone.test. | 192.0.2.80"),
    (f"file ZONEFILE zone.test\n{HOSTS}", "far.zone.test.", "AAAA", "www.example. | 2001:db8::1"),
    ("file ZONEFILE zone.test", "x.wild.zone.test.", "A", "192.0.2.99"),
    ("file ZONEFILE zone.test", "x.y.wild.zone.test.", "A", "192.0.2.99"),
    ("file ZONEFILE zone.test", "x.wild.zone.test.", "AAAA", "NODATA"),
    ("file ZONEFILE zone.test", "b.wild.zone.test.", "A", "NODATA"),
    ("file ZONEFILE zone.test", "c.b.wild.zone.test.", "A", "NXDOMAIN"),
    ("file ZONEFILE zone.test", "none.zone.test.", "A", "NXDOMAIN"),
    ("file ZONEFILE zone.test", "x.sub.zone.test.", "A", "REFERRAL sub.zone.test."),
    ("file ZONEFILE zone.test", "none.other.", "A", "REFUSED"),
    ("file ZONEFILE zone.test", "zone.test.", "AXFR", "REFUSED"),
    (f"rewrite name foo.test www.example\n{HOSTS}", "foo.test.", "AAAA", "foo.test. 2001:db8::1"),
    (f"rewrite name suffix .test .example\n{HOSTS}", "db.test.", "A", "db.test. 192.0.2.2"),
    (f"rewrite name prefix o- n-\nrewrite name regex (.*)\\.test {{1}}.example\n{HOSTS}", "db.test.", "A", "192.0.2.2"),
    (f"rewrite name substring service www\n{HOSTS}", "service.example.", "AAAA", "service.example. 2001:db8::1"),
    (
        f"rewrite continue name a.test b.test\nrewrite name b.test db.example\n{HOSTS}",
        "a.test.",
        "A",
        "a.test. 192.0.2.2",
    ),
    (f"rewrite stop name a.test b.test\nrewrite name b.test db.example\n{HOSTS}", "a.test.", "A", "REFUSED"),
    (f"rewrite type TXT A\n{HOSTS}", "db.example.", "TXT", "192.0.2.2"),
    (f"rewrite ttl exact db.example 7\n{HOSTS}", "db.example.", "A", "TTL 7"),
    (f"rewrite ttl suffix example -9\n{HOSTS}", "db.example.", "A", "TTL 9"),
    (f"rewrite ttl regex ^[db]{{2}} 7\n{HOSTS}", "db.example.", "A", "TTL 7"),
    (f"rewrite ttl suffix example 9-\n{HOSTS}", "db.example.", "A", "TTL 3600"),
    ("rewrite name regex .* " + "x" * 70 + f"\n{HOSTS}", "db.example.", "A", "SERVFAIL"),
    (
        (
            "rewrite stop {\n name regex (.*)\\.test {1}.zone.test\n answer name (.*)\\.zone\\.test {1}.test\n"
            " answer value (.*)\\.zone\\.test {1}.test\n }\nfile ZONEFILE zone.test"
        ),
        "alias.test.",
        "A",
        "alias.test. www.test. | www.test. 192.0.2.80",
    ),
    (
        (
            'template IN A ip.test {\n match "^ip-(?P<a>\\d+)-(\\d+)-0-1[.]ip[.]test[.]$"\n'
            ' answer "{{ .Name }} 60 {{ .Class }} {{ .Type }} {{ .Group.a }}.{{ index .Match 2 }}.0.1"\n }'
        ),
        "ip-10-9-0-1.ip.test.",
        "A",
        "10.9.0.1",
    ),
    ('template IN A ip.test {\n match ^x\n answer "{{ .Name }} A 10.0.0.1"\n }', "ip.test.", "A", "SERVFAIL"),
    ("template IN A ip.test {\n match ^x\n fallthrough\n }", "ip.test.", "A", "REFUSED"),
    ('template IN A ip.test {\n answer "{{ .Name }} A nonsense"\n }', "ip.test.", "A", "SERVFAIL"),
    (
        'template ANY ANY invalid {\n rcode NXDOMAIN\n authority "x. 60 {{ .Class }} SOA n. h. (1 60 60 60 60)"\n }',
        "x.invalid.",
        "AAAA",
        "NXDOMAIN",
    ),
    (
        'template IN A hex.test {\n match ^0a(?P<b>..)\n answer "{{ .Name }} A 10.{{ parseInt .Group.b 16 }}.0.1"\n }',
        "0aff.hex.test.",
        "A",
        "10.255.0.1",
    ),
    (
        f'template IN ANY fake.test {{\n answer "fake.test. 60 IN CNAME www.example."\n }}\n{HOSTS}',
        "fake.test.",
        "AAAA",
        "www.example. | 2001:db8::1",
    ),
    (f"acl {{\n block net 127.0.0.0/8\n }}\n{HOSTS}", "db.example.", "A", "REFUSED"),
    (f"acl {{\n allow net 127.0.0.1\n block\n }}\n{HOSTS}", "db.example.", "A", "192.0.2.2"),
    (f"acl {{\n block type AAAA net *\n }}\n{HOSTS}", "db.example.", "A", "192.0.2.2"),
    (f"acl {{\n filter type A\n }}\n{HOSTS}", "db.example.", "A", "EMPTY"),
    (f"acl other.test {{\n block\n }}\n{HOSTS}", "db.example.", "A", "192.0.2.2"),
    (f"any\n{HOSTS}", "www.example.", "ANY", '"ANY obsoleted" "See RFC 8482"'),
    ("whoami", "anything.test.", "A", "EMPTY"),
    ("local", "localhost.", "AAAA", "::1"),
    ("local", "localhost.", "MX", "NODATA"),
    ("local", "localhost.shop.svc.cluster.local.", "A", "127.0.0.1"),
    ("local", "1.0.0.127.in-addr.arpa.", "PTR", "localhost."),
    ("local", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.", "PTR", "localhost."),
    ("local", "2.0.0.127.in-addr.arpa.", "PTR", "NXDOMAIN"),
    (f"local\n{HOSTS}", "db.example.", "A", "192.0.2.2"),
    ("minimal\nfile ZONEFILE zone.test", "none.zone.test.", "A", "NXDOMAIN"),
    ("", "anything.test.", "A", "REFUSED"),
]


def told(answer: dns.message.Message, expected: str) -> str:
    """An answer in the words of the expectation."""
    if expected.startswith("TTL"):
        return f"TTL {answer.answer[0].ttl}"
    if expected.startswith("REFERRAL"):
        assert not answer.answer
        assert [each.name.to_text() for each in answer.additional] == ["ns.sub.zone.test."]
        return f"REFERRAL {answer.authority[0].name}"
    if expected == "EMPTY":
        assert answer.rcode() == dns.rcode.NOERROR
        return "EMPTY" if not answer.answer and not answer.authority else answer.to_text()
    if re.match(r"\S+\. \S", expected) and " | " not in expected.split(" ", 1)[0] and "SOA" not in expected:
        with_owner = " | ".join(f"{rrset.name} {each.to_text()}" for rrset in answer.answer for each in rrset)
        if same(with_owner, expected):
            return expected
    return seen(answer)


@pytest.mark.parametrize(("body", "name", "kind", "expected"), CASES)
async def test_a_case(running: Running, tmp_path: Path, body: str, name: str, kind: str, expected: str) -> None:
    (tmp_path / "zone").write_text(ZONE)
    (tmp_path / "hosts").write_text("192.0.2.44 filed.test # a name\nnonsense\n192.0.2.45\n")
    body = body.replace("ZONEFILE", str(tmp_path / "zone")).replace("HOSTSFILE", str(tmp_path / "hosts"))
    async with running(f".:PORT {{\n{body}\n}}") as (_, port):
        for _ in range(2):
            answer = await ask(port, name, kind)
            assert same(told(answer, expected), expected)
            assert str(answer.question[0].name) == name


async def test_chaos_says_who_runs_and_only_there(running: Running) -> None:
    async with running(f'.:PORT {{\n chaos "Clew test" "a person"\n {HOSTS}\n}}') as (_, port):
        for name, text in (("version.bind.", '"Clew test"'), ("authors.bind.", '"a person"')):
            assert (await ask(port, name, "TXT", rdclass="CH")).answer[0][0].to_text() == text
        assert (await ask(port, "db.example.", "A", rdclass="CH")).rcode() == dns.rcode.REFUSED


async def test_an_extended_error_tells_why(running: Running) -> None:
    body = 'template ANY ANY invalid {\n rcode NXDOMAIN\n ederror 21 "Blocked"\n }'
    async with running(f".:PORT {{\n{body}\n}}") as (_, port):
        (option,) = (await ask(port, "x.invalid.")).options
        assert isinstance(option, dns.edns.EDEOption)
        assert (option.code, option.text) == (21, "Blocked")


async def test_whoami_tells_address_port_and_protocol(running: Running) -> None:
    async with running(".:PORT {\n whoami\n}") as (_, port):
        for tcp in (False, True):
            address, service = (await ask(port, "me.test.", tcp=tcp)).additional
            assert address[0].to_text() == "127.0.0.1"
            assert str(service.name) == ("_tcp.me.test." if tcp else "_udp.me.test.")
            assert service[0].port > 1023


async def test_the_longest_zone_wins_and_ports_differ(running: Running) -> None:
    other = free_port()
    corefile = (
        ".:PORT {\n hosts {\n 192.0.2.1 a.test a.sub.test\n fallthrough\n }\n}\n"
        f"sub.test:PORT .:{other} {{\n hosts {{\n 192.0.2.2 a.test a.sub.test\n }}\n}}"
    )
    async with running(corefile) as (_, port):
        assert seen(await ask(port, "a.test.")) == "192.0.2.1"
        assert seen(await ask(port, "a.sub.test.")) == "192.0.2.2"
        assert seen(await ask(port, "a.notsub.test.")) == "REFUSED"
        assert seen(await ask(other, "a.test.")) == "192.0.2.2"


async def test_loadbalance_draws_the_order_and_keeps_the_alias_first(running: Running, tmp_path: Path) -> None:
    many = "\n".join(f"many A 192.0.2.{last}" for last in range(1, 9))
    (tmp_path / "zone").write_text(ZONE + many + "\nto CNAME many\n")
    async with running(f".:PORT {{\n loadbalance\n file {tmp_path / 'zone'} zone.test\n}}") as (_, port):
        orders, firsts = set(), set()
        for _ in range(12):
            orders.add((await ask(port, "many.zone.test.")).answer[0].to_text())
            firsts.add(str((await ask(port, "to.zone.test.")).answer[0].rdtype))
        assert len(orders) > 1
        assert firsts == {"5"}


async def test_log_and_errors_write_lines(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    closed = free_port()
    async with running(f".:PORT {{\n errors\n log\n forward . 127.0.0.1:{closed}\n}}") as (_, port):
        answer = await ask(port, "Down.Test.")
        assert answer.rcode() == dns.rcode.SERVFAIL
        lines = capsys.readouterr().out
    logged = rf'\[INFO\] 127.0.0.1:\d+ - {answer.id} "A IN down.test. udp 38 false 1232" SERVFAIL qr,rd,ra 38 0\.\d+s'
    assert re.search(logged, lines), lines
    assert re.search(rf"\[ERROR\] plugin/errors: 2 Down.Test. A: 127.0.0.1:{closed}: Connection refused", lines)


async def test_log_can_be_narrowed_and_formed(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    body = f'log example "{{name}} {{rcode}}" {{\n class denial\n }}\n{HOSTS}'
    async with running(f".:PORT {{\n{body}\n}}") as (_, port):
        for name in ("db.example.", "other.test."):
            await ask(port, name)
        await ask(port, "db.example.", "MX")
        assert capsys.readouterr().out.splitlines() == ["[INFO] db.example. NOERROR"]


async def answers(port: int, name: str, expected: str) -> bool:
    return (await ask(port, name)).rcode() == dns.rcode.NOERROR and seen(await ask(port, name)) == expected


def fetch(port: int, path: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    try:
        with urllib.request.urlopen(request, timeout=30) as page:  # noqa: S310
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_pages_and_metrics(running: Running) -> None:
    health, ready, metrics = free_port(), free_port(), free_port()
    corefile = f""".:PORT {{
        health 127.0.0.1:{health} {{
            lameduck 10ms
        }}
        ready 127.0.0.1:{ready}
        prometheus 127.0.0.1:{metrics}
        kubernetes cluster.local {{
            startup_timeout 0s
        }}
    }}"""
    async with running(corefile) as (program, port):
        page = asyncio.to_thread

        async def up() -> bool:
            try:
                return (await page(fetch, health, "/health")) == (200, "OK")
            except OSError:
                return False

        await until_true(up)
        assert await page(fetch, ready, "/ready") == (503, "kubernetes")
        Cluster(program).has(services=[a_service("web", clusterIPs=["10.96.0.7"])])
        assert await page(fetch, ready, "/ready") == (200, "OK")
        for _ in range(3):
            await ask(port, "web.shop.svc.cluster.local.")
        await ask(port, "no.shop.svc.cluster.local.", "AAAA", tcp=True)
        text = (await page(fetch, metrics, "/metrics"))[1]
        where = f'server="dns://:{port}",zone=".",view=""'
        for line in (
            f'coredns_dns_requests_total{{{where},proto="udp",family="1",type="A"}} 3',
            f'coredns_dns_requests_total{{{where},proto="tcp",family="1",type="AAAA"}} 1',
            f'coredns_dns_responses_total{{{where},rcode="NOERROR",plugin=""}} 3',
            f'coredns_dns_responses_total{{{where},rcode="NXDOMAIN",plugin=""}} 1',
            f"coredns_dns_request_duration_seconds_count{{{where}}} 4",
            f'coredns_dns_request_size_bytes_count{{{where},proto="udp"}} 3',
            f'coredns_dns_response_size_bytes_count{{{where},proto="tcp"}} 1',
        ):
            assert line in text, (line, text)


async def test_autopath_walks_the_path_for_a_pod(running: Running) -> None:
    corefile = """.:PORT {
        autopath @kubernetes
        kubernetes cluster.local {
            pods verified
            startup_timeout 0s
        }
        hosts {
            192.0.2.1 www.example
            fallthrough
        }
    }"""
    async with running(corefile) as (program, port):
        here = named("here", status={"phase": "Running", "podIP": "127.0.0.1"})
        web = [a_service("web", clusterIPs=["10.96.0.7"]), a_service("web", "other", clusterIPs=["10.96.0.8"])]
        Cluster(program).has(namespaces=["shop", "other"], services=web, pods=[here])
        assert seen(await ask(port, "web.shop.svc.cluster.local.")) == "10.96.0.7"
        walked = await ask(port, "www.example.shop.svc.cluster.local.")
        assert [each.to_text() for rrset in walked.answer for each in rrset] == ["www.example.", "192.0.2.1"]
        assert str(walked.answer[0].name) == "www.example.shop.svc.cluster.local."
        assert "10.96.0.8" in seen(await ask(port, "web.other.shop.svc.cluster.local."))
        assert seen(await ask(port, "nothing.shop.svc.cluster.local.")) == "NXDOMAIN"
        Cluster(program).has(namespaces=["shop", "other"], services=web)
        assert seen(await ask(port, "www.example.shop.svc.cluster.local.")) == "NXDOMAIN", "nobody's pod asks"


async def test_a_zone_file_that_breaks_keeps_the_old_one(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zone"
    path.write_text(ZONE)
    async with running(f".:PORT {{\n file {path} zone.test {{\n reload 20ms\n }}\n}}") as (_, port):
        assert seen(await ask(port, "www.zone.test.")) == "192.0.2.80"
        path.write_text(ZONE.replace("192.0.2.80", "nonsense"))
        out: list[str] = []
        await until(lambda: out.append(capsys.readouterr().out) or "the old zone stays at work" in "".join(out))
        assert "line 7: not a record: A nonsense" in "".join(out)
        assert seen(await ask(port, "www.zone.test.")) == "192.0.2.80"
        path.write_text(ZONE.replace("192.0.2.80", "192.0.2.81"))
        await until_true(lambda: answers(port, "www.zone.test.", "192.0.2.81"))


async def test_a_hosts_file_that_changes_shows(running: Running, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("192.0.2.1 a.test\n")
    async with running(f".:PORT {{\n hosts {path} {{\n reload 20ms\n }}\n}}") as (_, port):
        assert seen(await ask(port, "a.test.")) == "192.0.2.1"
        assert (await ask(port, "b.test.")).rcode() == dns.rcode.NXDOMAIN
        path.write_text("192.0.2.2 b.test\n")
        await until_true(lambda: answers(port, "b.test.", "192.0.2.2"))
        assert (await ask(port, "a.test.")).rcode() == dns.rcode.NXDOMAIN


def test_every_number_of_a_type_has_one_name() -> None:
    assert len(wire.TYPES) == len(wire.TYPE_NAMES)


async def test_server_blocks_share_an_address_of_pages(running: Running) -> None:
    """A stub domain's block with metrics of its own once ended the process: the address was taken, by itself."""
    metrics, other = free_port(), free_port()
    pages = f"prometheus 127.0.0.1:{metrics}"
    corefile = f".:PORT {{\n {pages}\n {HOSTS}\n}}\nstub.test:PORT {{\n {pages}\n ready 127.0.0.1:{other}\n whoami\n}}"
    async with running(corefile) as (_, port):
        await ask(port, "db.example.")
        await ask(port, "me.stub.test.")
        text = (await asyncio.to_thread(fetch, metrics, "/metrics"))[1]
        for zone in (".", "stub.test."):
            where = f'server="dns://:{port}",zone="{zone}",view=""'
            assert f'coredns_dns_responses_total{{{where},rcode="NOERROR",plugin=""}} 1' in text


async def test_a_reload_that_cannot_have_its_address_changes_nothing(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = free_port()
    kubernetes = "kubernetes cluster.local {\n startup_timeout 0s\n }"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with running(f".:PORT {{\n ready 127.0.0.1:{ready}\n {kubernetes}\n {HOSTS}\n}}") as (program, port):
            Cluster(program).has()
            assert program.context.corefile_changed is not None
            text = program.options.conf.read_text()
            for wrong in (
                text.replace(HOSTS, "whoami\n") + f"x.test:{taken.getsockname()[1]} {{\n bind 127.0.0.1\n}}\n",
                text.replace(HOSTS, f"health 127.0.0.1:{taken.getsockname()[1]}\n"),
                text.replace(HOSTS, "nonsense\n"),
            ):
                program.options.conf.write_text(wrong)
                await program.context.corefile_changed()
                assert "is refused and the old one stays at work" in capsys.readouterr().out
                assert seen(await ask(port, "db.example.")) == "192.0.2.2"
                assert await asyncio.to_thread(fetch, ready, "/ready") == (200, "OK"), "what was refused left nothing"


async def test_an_address_that_is_taken_is_said_in_a_line(running: Running) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"cannot listen on 127.0.0.1:{port}: .*in use"):
            async with running(f".:PORT {{\n health 127.0.0.1:{port}\n whoami\n}}"):
                pass


async def test_two_servers_cannot_take_one_address(running: Running) -> None:
    """An option that TCP wants let a second process take the first one's datagrams without a word."""
    async with running(f".:PORT {{\n {HOSTS}\n}}") as (_, port):
        with pytest.raises(OSError, match="in use"):
            bind("127.0.0.1", port, socket.SOCK_DGRAM)


async def test_questions_that_come_back_end_the_process(tmp_path: Path) -> None:
    port = free_port()
    conf = tmp_path / "Corefile"
    conf.write_text(f".:{port} {{\n bind 127.0.0.1\n errors\n loop\n forward . 127.0.0.1:{port}\n}}")
    command = (sys.executable, "-c", "from clew.cli.main import main; main()", "dns", "--conf", str(conf))
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().strip() == "[FATAL] plugin/loop: queries forwarded from here come back here; see `forward`"


async def test_a_network_gets_so_many_answers_and_no_more(running: Running) -> None:
    """Over the limit every second answer is cut, the others are not sent; TCP and time help."""
    clock = Hands()
    body = "rrl {\n responses-per-second 3\n nxdomains-per-second 1\n }"
    async with running(f".:PORT {{\n{body}\n{HOSTS.replace('fallthrough', '')}\n}}", clock=clock) as (_, port):

        async def asked(name: str) -> str:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.connect(("127.0.0.1", port))
                client.send(dns.message.make_query(name, "A").to_wire())
                await ask(port, "localhost.", tcp=True)  # asked later: its answer says that the other one is out
                try:
                    answer = dns.message.from_wire(client.recv(4096, socket.MSG_DONTWAIT))
                except BlockingIOError:
                    return "silence"
            return "cut" if answer.flags & dns.flags.TC else seen_or_code(answer)

        assert [await asked("db.example.") for _ in range(6)] == ["192.0.2.2"] * 3 + ["silence", "cut", "silence"]
        assert [await asked("no.example.") for _ in range(3)] == ["NXDOMAIN", "silence", "cut"]
        assert seen(await ask(port, "db.example.", tcp=True)) == "192.0.2.2"
        clock.time += 3
        assert await asked("db.example.") == "192.0.2.2"


def seen_or_code(answer: dns.message.Message) -> str:
    return seen(answer) if answer.answer else dns.rcode.to_text(answer.rcode())


async def test_minimal_and_bufsize_make_answers_small(running: Running, tmp_path: Path) -> None:
    many = "\n".join(f"many A 192.0.2.{last}" for last in range(1, 60))
    (tmp_path / "zone").write_text(ZONE + many)
    served = f"file {tmp_path / 'zone'} zone.test"
    async with running(f".:PORT {{\n minimal\n bufsize 512\n {served}\n}}") as (_, port):
        assert (await ask(port, "srv.zone.test.", "SRV")).additional == []
        for size in (512, 1232):
            cut = await ask(port, "many.zone.test.", payload=size)
            assert cut.flags & dns.flags.TC
            assert len(cut.to_wire()) <= 512
        assert not (await ask(port, "many.zone.test.", tcp=True)).flags & dns.flags.TC
    async with running(f".:PORT {{\n {served}\n}}") as (_, port):
        assert (await ask(port, "srv.zone.test.", "SRV")).additional != []
        assert not (await ask(port, "many.zone.test.", payload=1232)).flags & dns.flags.TC


async def test_dashboards_find_the_process(running: Running) -> None:
    metrics = free_port()
    async with running(f".:PORT {{\n prometheus 127.0.0.1:{metrics}\n whoami\n}}") as (program, _):
        program.options.conf.write_text("nonsense")
        assert program.context.corefile_changed is not None
        await program.context.corefile_changed()
        text = (await asyncio.to_thread(fetch, metrics, "/metrics"))[1]
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert values["coredns_reload_failed_total"] == "1"
        assert float(values["process_resident_memory_bytes"]) > 1 << 20
        assert float(values["process_cpu_seconds_total"]) > 0


def test_strangers_cannot_make_metrics_grow() -> None:
    """Names of all lengths, all types and all sizes of answers: sums stay, the number of accounts is bounded."""
    context = Context(SystemClock(), Registry(), print)
    plugin = Prometheus(Site(("",), 53, "dns://:53"), context)
    asked = 0
    for length in range(1, 60):
        for kind in range(1, 60):
            raw = dns.message.make_query("x" * length + ".test.", kind, use_edns=0).to_wire()
            query = wire.parse_query(raw, client="192.0.2.1")
            for size in range(100, 600, 50):
                plugin.tally(query, raw[:12] + bytes(size)).slow += 1
                asked += 1
    assert len(plugin._tallies) < 10_000
    for refresh in context.refreshes:
        refresh()
    assert sum(plugin.requests.values.values()) == asked


async def test_nothing_is_ready_before_its_sockets(running: Running) -> None:
    """A page said OK between the first page's socket and the first question's."""
    async with running(f".:PORT {{\n ready 127.0.0.1:{free_port()}\n {HOSTS}\n}}") as (program, _):
        assert program.ready()
        unborn = Program(program.options)
        assert not unborn.ready()
        (page,) = unborn.generation.context.pages.values()
        assert page["/ready"]().status == 503
