"""The programs inside stand-ins, run here over loopback: agnhost's handlers, nslookup's lines, the flags."""

import _thread
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.cluster.images.programs import nslookup
from clew.cluster.images.programs.agnhost import connect, dial, flags, main, netexec, small, wire
from clew.cluster.images.programs.agnhost.wire import Reply, Request


@pytest.fixture
def server() -> Iterator[int]:
    """A netexec server on a port of its own; its port."""
    listening = wire.listener(0)
    _thread.start_new_thread(wire.serve_http, (listening, netexec.NetExec().handle))
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


@pytest.fixture
def udp() -> Iterator[int]:
    program = netexec.NetExec()
    netexec._serve_datagrams(program, 0, "")
    yield program.servers[0].getsockname()[1]
    program.servers[0].close()


def get(port: int, target: str, host: str = "127.0.0.1") -> tuple[int, str]:
    client = http.client.HTTPConnection(host, port, timeout=30)
    client.request("GET", target)
    answer = client.getresponse()
    return answer.status, answer.read().decode()


class TestNetExec:
    def test_who_am_i_and_who_asks(self, server: int) -> None:
        assert get(server, "/hostname") == get(server, "/hostName") == (200, socket.gethostname())
        assert get(server, "/clientip")[1].startswith("127.0.0.1:")
        assert get(server, "/serverport") == (200, str(server))
        assert get(server, "/anything")[1].startswith("NOW: 2")

    def test_both_families(self, server: int) -> None:
        assert get(server, "/clientip", "::1")[1].startswith("[::1]:")

    def test_echo(self, server: int) -> None:
        assert get(server, "/echo?msg=a%20b+c%2B%C3%A9") == (200, "a b c+é")
        assert get(server, "/echo?msg=no&code=503") == (503, "no")
        assert "must be an integer" in get(server, "/echo?msg=x&code=abc")[1]

    def test_a_header_cannot_be_smuggled_into_a_redirect(self, server: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", server, timeout=30)
        client.request("GET", "/redirect?location=/x%0d%0aEvil:%201&code=307")
        answer = client.getresponse()
        assert (answer.status, answer.getheader("Evil")) == (307, None)

    def test_a_shell_command(self, server: int) -> None:
        assert json.loads(get(server, "/shell?cmd=echo+hi")[1]) == {"output": "hi\n"}
        assert json.loads(get(server, "/shell?shellCommand=exit+3")[1]) == {"error": "exit status 3"}
        assert "signal: " in json.loads(get(server, "/shell?cmd=kill+-9+$$")[1])["error"]

    def test_healthz_waits_for_a_datagram_server(self) -> None:
        program = netexec.NetExec()
        assert program.handle(Request("GET", "/healthz", {}, b"")).status == 412
        program.ready = True
        assert program.handle(Request("GET", "/healthz", {}, b"")).status == 200

    def test_connections_persist_and_close_when_asked(self, server: int) -> None:
        with socket.create_connection(("127.0.0.1", server), timeout=30) as peer:
            peer.sendall(b"GET /echo?msg=1 HTTP/1.1\r\n\r\nGET /echo?msg=2 HTTP/1.1\r\nConnection: close\r\n\r\n")
            seen = b"".join(iter(lambda: peer.recv(4096), b""))
        assert (seen.count(b"200 OK"), seen.endswith(b"\r\n\r\n2")) == (2, True)

    @pytest.mark.parametrize(
        "text", [b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"\x16\x03\x01\r\n"]
    )
    def test_what_is_not_http_is_a_bad_request(self, server: int, text: bytes) -> None:
        with socket.create_connection(("127.0.0.1", server), timeout=30) as peer:
            peer.sendall(text)
            assert peer.recv(100).startswith(b"HTTP/1.1 400 ")

    def test_a_posted_form(self, server: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", server, timeout=30)
        client.request("POST", "/echo", "msg=form", {"Content-Type": "application/x-www-form-urlencoded"})
        assert client.getresponse().read() == b"form"

    @pytest.mark.parametrize(
        ("ask", "said"), [(b"hostname\n", None), (b"Echo Hello\n", b"hello"), (b"clientip", b"127.0.0.1:")]
    )
    def test_datagrams(self, udp: int, ask: bytes, said: bytes | None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(30)
            peer.sendto(ask, ("127.0.0.1", udp))
            assert peer.recv(100).startswith(socket.gethostname().encode() if said is None else said)


class TestDial:
    def ask(self, query: str) -> tuple[int, str]:
        reply = dial.dial(Request("GET", f"/dial?{query}", {}, b""))
        return reply.status, reply.body.decode()

    def test_http_and_udp(self, server: int, udp: int) -> None:
        status, body = self.ask(f"host=127.0.0.1&port={server}&request=echo?msg%3Dhi&tries=3")
        assert (status, json.loads(body)) == (200, {"responses": ["hi"] * 3})
        _, body = self.ask(f"host=::1&port={udp}&protocol=udp&request=echo%20hi")
        assert json.loads(body) == {"responses": ["hi"]}

    def test_a_redirect_is_followed(self, server: int) -> None:
        _, body = self.ask(f"host=127.0.0.1&port={server}&request=redirect?location%3D/hostname")
        assert json.loads(body) == {"responses": [socket.gethostname()]}

    def test_a_refusal_is_an_error_in_gos_words(self) -> None:
        port = closed_port()
        _, body = self.ask(f"host=127.0.0.1&port={port}&request=x&tries=2")
        text = f'Get "http://127.0.0.1:{port}/x": dial tcp 127.0.0.1:{port}: connect: connection refused'
        assert json.loads(body) == {"errors": [text, text]}

    @pytest.mark.parametrize(
        ("query", "text"),
        [
            ("host=127.0.0.1&port=1", "request parameter not specified"),
            ("host=127.0.0.1&port=1&request=x&tries=many", "tries parameter is invalid"),
            ("host=127.0.0.1&port=1&request=x&protocol=icmp", "unsupported protocol. icmp"),
            ("host=127.0.0.1&port=none&request=x", "host and/or port param are invalid"),
        ],
    )
    def test_bad_parameters(self, query: str, text: str) -> None:
        status, body = self.ask(query)
        assert (status, text in body) == (400, True)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class TestConnect:
    def failure(self, destination: str, protocol: str = "tcp", limit: float = 0.2) -> str:
        with pytest.raises(connect.Failure) as failed:
            connect.attempt(destination, protocol, limit, "hostname")
        return str(failed.value)

    def test_success(self, server: int, udp: int) -> None:
        connect.attempt(f"127.0.0.1:{server}", "tcp", 30.0, "")
        connect.attempt(f"[::1]:{server}", "tcp", 30.0, "")
        connect.attempt(f"127.0.0.1:{udp}", "udp", 30.0, "hostname")

    def test_refused_by_tcp_and_by_udp(self) -> None:
        assert self.failure(f"127.0.0.1:{closed_port()}") == "REFUSED"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        assert self.failure(f"127.0.0.1:{port}", "udp") == "REFUSED"

    def test_timeout(self) -> None:
        """A full backlog answers nothing, on loopback too."""
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            assert self.failure(f"127.0.0.1:{full.getsockname()[1]}") == "TIMEOUT"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            assert self.failure(f"127.0.0.1:{silent.getsockname()[1]}", "udp") == "TIMEOUT"

    @pytest.mark.parametrize("destination", ["here", "fd00::1:80", "host:", "[::1]"])
    def test_arguments_that_are_no_address(self, destination: str) -> None:
        assert self.failure(destination).startswith("UNKNOWN: address ")

    def test_a_name_that_is_none(self) -> None:
        assert self.failure("bad..name:80").startswith("DNS: lookup bad..name: ")

    def test_the_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as left:
            main.main(["connect", "--timeout=200ms", f"127.0.0.1:{closed_port()}"])
        assert (left.value.code, capsys.readouterr().err) == (1, "REFUSED\n")
        assert main.main(["connect"]) == 1
        assert "accepts 1 arg(s), received 0" in capsys.readouterr().err


DEFAULTS: dict[str, flags.Flag] = {"port": 80, "http": True, "name": "", "timeout": 0.0}


class TestFlags:
    @pytest.mark.parametrize(
        ("words", "expected", "rest"),
        [
            (["--port=1", "a"], {"port": 1}, ["a"]),
            (["--port", "1", "--", "--x"], {"port": 1}, ["--x"]),
            (["--http=false", "--name", "n"], {"http": False, "name": "n"}, []),
            (["--http", "false"], {"http": True}, ["false"]),
            (["--port", "-1"], {"port": -1}, []),
            (["--timeout=1m30.5s"], {"timeout": 90.5}, []),
        ],
    )
    def test_values(self, words: list[str], expected: dict[str, object], rest: list[str]) -> None:
        assert flags.parse(words, DEFAULTS) == ({**DEFAULTS, **expected}, rest)

    @pytest.mark.parametrize("word", ["--nope", "--port=x", "--port", "--http=maybe", "--timeout=5", "-p"])
    def test_mistakes(self, word: str) -> None:
        with pytest.raises(flags.UsageError):
            flags.parse([word], DEFAULTS)

    def test_mistakes_end_with_status_1(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.main(["netexec", "--nope"]) == 1
        assert main.main(["nonesuch"]) == 1
        assert 'unknown command "nonesuch"' in capsys.readouterr().err
        assert main.main(["help"]) == 0


def test_serving_hostnames_raw() -> None:
    from clew.cluster.images.programs.agnhost import serve_hostname  # noqa: PLC0415  (as the program imports it)

    listening = wire.listener(0)
    _thread.start_new_thread(wire.serve_streams, (listening, serve_hostname._say_name))
    with socket.create_connection(listening.getsockname()[:2], timeout=30) as peer:
        assert peer.recv(100).decode() == socket.gethostname()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    page = serve_hostname._page(Request("GET", "/", {}, b""), close=True)
    assert page.headers["Connection"] == "close"


def test_resolv_conf_words(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("search a.b\nnameserver 10.0.0.1\nnameserver fd00::1\nsearch c.d e.f\noptions ndots:5\n")
    assert small.resolver_words("search", str(conf)) == ["c.d", "e.f"]
    assert small.resolver_words("nameserver", str(conf)) == ["10.0.0.1", "fd00::1"]


def test_head_has_no_body() -> None:
    assert wire.response(Reply("text"), head=True, close=False).endswith(b"Content-Length: 4\r\n\r\n")


def test_ipv4_seen_through_ipv6_is_ipv4() -> None:
    assert wire.peer_text(("::ffff:10.0.0.1", 5, 0, 0)) == "10.0.0.1:5"
    assert wire.peer_text(("fd00::1", 5, 0, 0)) == "[fd00::1]:5"


class TestNslookup:
    def test_the_lines(self) -> None:
        found = [("10.96.0.10", "kube-dns.kube-system.svc.cluster.local"), ("10.0.0.1", "")]
        assert nslookup.paragraph("Server:", "10.96.0.10", found) == (
            "Server:    10.96.0.10\nAddress 1: 10.96.0.10 kube-dns.kube-system.svc.cluster.local\nAddress 2: 10.0.0.1\n"
        )

    def test_the_server_is_the_first_nameserver(self, tmp_path: Path) -> None:
        conf = tmp_path / "resolv.conf"
        conf.write_text("# nameserver 1.1.1.1\nsearch x\nnameserver\nnameserver 10.96.0.10\nnameserver 10.0.0.2\n")
        assert nslookup.nameserver(str(conf)) == "10.96.0.10"
        assert nslookup.nameserver(str(tmp_path / "none")) == "127.0.0.1"

    def test_a_name_that_resolves(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert nslookup.main(["127.0.0.1"]) == 0
        assert "\nName:      127.0.0.1\nAddress 1: 127.0.0.1" in capsys.readouterr().out

    def test_a_miss(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert nslookup.main(["bad..name"]) == 1
        assert capsys.readouterr().err == "nslookup: can't resolve 'bad..name'\n"

    def test_usage(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert nslookup.main([]) == 1
        assert capsys.readouterr().err.startswith("Usage: nslookup HOST")


def test_the_exit_request_reads_durations() -> None:
    program, begun = netexec.NetExec(), time.monotonic()
    assert "valid golang duration" in program.handle(Request("GET", "/exit?wait=soon", {}, b"")).body.decode()
    assert "[0-127]" in program.handle(Request("GET", "/exit?code=300", {}, b"")).body.decode()
    assert time.monotonic() - begun < 30
