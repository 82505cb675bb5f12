"""…/proxy: HTTP and HTTPS handed on to programs on loopback, pages whose links lead back, what is refused."""

import _thread
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from clew.cluster.apiserver.subresources.proxy_links import led_back, page_led_back
from clew.cluster.images.programs.agnhost import porter, wire
from clew.cluster.kubelet.sessions import TcpStream
from clew.cluster.streams import Duplex, PodRef, StreamError

from .conftest import NoNodes, Raw, Running
from .samples import PATHS, POD, SERVICE

LINK = '<a href="/rewriteme">test</a>'
CERTIFICATE = [str(Path(porter.__file__).parent / f"localhost.{end}") for end in ("crt", "key")]
METHODS = ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT")
SLICE = {
    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
    "endpoints": [{"addresses": ["10.0.0.9"], "targetRef": {"kind": "Pod", "name": "p"}}],
}  # fmt: skip


class Loopback(NoNodes):
    """Every pod's network is this machine's loopback; so are addresses that are `known`."""

    known: ClassVar[dict[tuple[str, int], tuple[str, int]]] = {}

    async def connect(self, pod: PodRef, port: int) -> Duplex:
        del pod
        return await self.reach("127.0.0.1", port)

    async def reach(self, address: str, port: int) -> Duplex:
        address, port = self.known.get((address, port), (address, port))
        try:
            made = socket.create_connection((address, port), 5)
        except OSError as problem:
            raise StreamError(500, str(problem.strerror)) from problem
        return await TcpStream.over(made.detach())


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raw]:
    running = Running(tmp_path_factory.mktemp("proxied"))
    running.nodes = Loopback()
    running.start()
    raw = Raw(running)
    raw("POST", PATHS["Pod"].replace("pods", "serviceaccounts"), {"metadata": {"name": "default"}})
    made = {**POD, "spec": {**POD["spec"], "nodeName": "n"}}
    assert raw("POST", PATHS["Pod"], made).code == 201
    yield raw
    raw.close()
    running.stop()


@pytest.fixture
def serve() -> Iterator[Any]:
    """A function that serves a text by porter's page, over TLS too; gives the port."""
    servers: list[socket.socket] = []

    def begin(text: str, *, tls: bool = False, as_json: bool = False) -> int:
        server = wire.listener(0, address="127.0.0.1")
        number: int = server.getsockname()[1]
        server = wire.with_tls(server, *CERTIFICATE) if tls else server
        servers.append(server)
        _thread.start_new_thread(wire.serve_http, (server, lambda request: porter.page(text, request, as_json=as_json)))
        return number

    yield begin
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize(("scheme", "tls"), [("", False), ("http:", False), ("https:", True)])
def test_a_pods_pages_lead_back_and_its_texts_stay(call: Raw, serve: Any, scheme: str, tls: bool) -> None:
    """Over TLS nothing was reached at all, and a browser followed links to the API server's own root."""
    for text in ("foo", LINK):
        where = f"{PATHS['Pod']}/{scheme}p:{serve(text, tls=tls)}/proxy"
        assert call("GET", f"{where}/").text == text.replace("/rewriteme", f"{where}/rewriteme")


@pytest.mark.parametrize(("scheme", "tls"), [("", False), ("https:", True)])
def test_a_service_is_asked_by_its_ports_name_or_number(call: Raw, serve: Any, scheme: str, tls: bool) -> None:
    call("POST", PATHS["Service"], {**SERVICE, "spec": {"ports": [{"name": "main", "port": 443}]}})
    number = serve("tls baz", tls=tls)
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    assert call("POST", path, {**SLICE, "ports": [{"name": "main", "port": number}]}).code == 201
    for port in ("main", "443"):
        assert call("GET", f"{PATHS['Service']}/{scheme}web:{port}/proxy/").text == "tls baz"
    refused = call("GET", f"{PATHS['Service']}/web:80/proxy/")
    assert (refused.code, refused.obj["message"]) == (503, 'no service port 80 found for service "web"')
    assert call("GET", f"{PATHS['Service']}/ftp:web:main/proxy/").code == 400
    call("DELETE", f"{PATHS['Service']}/web")
    call("DELETE", f"{path}/web-1")


def test_endpoints_that_are_no_pods_are_reached(call: Raw, serve: Any) -> None:
    """`…/services/https:kubernetes:443/proxy/version` said that there are no endpoints."""
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    call("POST", PATHS["Service"], {**SERVICE, "metadata": {"name": "by-hand"}, "spec": {"ports": [{"port": 80}]}})
    by_hand = {"name": "by-hand-1", "labels": {"kubernetes.io/service-name": "by-hand"}}
    made = {**SLICE, "metadata": by_hand, "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"port": 1}]}
    assert call("POST", path, made).code == 201
    Loopback.known["192.0.2.1", 1] = "127.0.0.1", serve("foo")
    assert call("GET", f"{PATHS['Service']}/by-hand/proxy/").text == "foo"


def test_every_method_arrives_and_only_readers_are_sent_to_the_folder(call: Raw, serve: Any) -> None:
    """A POST to …/proxy was answered by a redirection, which a client follows with a GET."""
    where = f"{PATHS['Pod']}/p:{serve('foo', as_json=True)}/proxy"
    for method in METHODS:
        asked = call(method, f"{where}/some/path/with/{method}")
        assert json.loads(asked.text) == {"Method": method, "Body": "foo"}
        if method != "GET":
            assert json.loads(call(method, f"{where}?method={method}").text) == {"Method": method, "Body": "foo"}
    for method in ("GET", "HEAD"):
        moved = call(method, f"{where}?method={method}")
        assert (moved.code, moved.location) == (301, f"{where}/?method={method}")


def test_who_speaks_no_tls_is_named(call: Raw, serve: Any) -> None:
    refused = call("GET", f"{PATHS['Pod']}/https:p:{serve('foo')}/proxy/")
    assert refused.code == 503
    assert refused.obj["message"].startswith("error trying to reach service: tls: ")


@pytest.mark.parametrize(
    ("address", "led"),
    [
        ("/next", "/p/next"), ("/", "/p/"), ("/p/next", "/p/next"), ("next", "next"), ("", ""), ("#top", "#top"),
        ("http://pod:80/a?b#c", "/p/a?b#c"), ("//pod:80/a", "/p/a"), ("https://else.where/a", "https://else.where/a"),
        ("mailto:a@b", "mailto:a@b"), ("http://[", "http://["),
    ],
)  # fmt: skip
def test_only_the_programs_own_paths_are_led_back(address: str, led: str) -> None:
    assert led_back(address, "/p", frozenset({"pod:80"})) == led


@pytest.mark.parametrize(
    ("page", "led"),
    [
        ("<IMG SRC=/a.png>", '<IMG SRC="/p/a.png">'),
        ("<form action='/x?a=1&amp;b=2'>", '<form action="/p/x?a=1&amp;b=2">'),
        ('<a title="href" data-href="/x" href="b">', '<a title="href" data-href="/x" href="b">'),
        ('<script src="/s.js">let a = "<a href=\'/x\'>"</script><a href="/y">',
         '<script src="/p/s.js">let a = "<a href=\'/x\'>"</script><a href="/p/y">'),
        ('<!-- <a href="/x"> --><a href="/y">', '<!-- <a href="/x"> --><a href="/p/y">'),
        ('<!-- <a href="/x">', '<!-- <a href="/x">'),
        ("1 < 2 & href=/x", "1 < 2 & href=/x"),
    ],
)  # fmt: skip
def test_links_in_pages(page: str, led: str) -> None:
    assert page_led_back(page, "/p", frozenset()) == led


def test_a_hostile_page_costs_one_pass() -> None:
    """The whole server reads it in one turn of its loop."""
    for piece in ("<a ", "<a '", '<a "', "<!--", "<a href=", "<script>", "<style", "<a\t\thref  "):
        began = os.times().user
        page_led_back(piece * 100_000, "/p", frozenset())
        assert os.times().user - began < 2, piece
