"""Who is not let in, and what a hostile client cannot do to the API server: the claims of docs/design/security.md."""

import gzip
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clew.cluster.apiserver import server as api_server
from clew.cluster.ca import Authority, client_tls

from .conftest import Raw, Running

MAPS_PATH = "/api/v1/namespaces/default/configmaps"

PATHS = ("/", "/api", "/apis", "/version", "/healthz", "/readyz", "/openapi/v3", "/api/v1/pods", "/nowhere", MAPS_PATH)
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bomb"}}


@contextmanager
def connected(running: Running, tls: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    plain = socket.create_connection(("127.0.0.1", running.port), timeout=60)
    with tls.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
        yield sock


def status(running: Running, tls: ssl.SSLContext, path: str, **headers: str) -> int:
    connection = http.client.HTTPSConnection("127.0.0.1", running.port, context=tls, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("path", PATHS)
def test_nobody_is_anonymous(shared: Running, path: str) -> None:
    assert status(shared, client_tls(shared.authority.ca_pem), path) == 401


@pytest.mark.parametrize(
    "words",
    ["Bearer x", "Bearer a.b.c", "Bearer " + "é" * 10, "Basic YWRtaW46YWRtaW4=", "Bearer ", "Bearer " + "A" * 4000],
)
def test_a_made_up_credential_opens_nothing(shared: Running, words: str) -> None:
    tls = client_tls(shared.authority.ca_pem)
    assert status(shared, tls, "/api", Authorization=words.encode().decode("latin-1")) == 401


def test_a_bad_token_is_not_saved_by_a_good_certificate(shared: Running) -> None:
    tls = client_tls(shared.authority.ca_pem, shared.authority.client("admin", ("system:masters",)))
    assert status(shared, tls, "/api") == 200
    assert status(shared, tls, "/api", Authorization="Bearer x") == 401


def test_a_certificate_of_another_authority_is_refused(shared: Running, tmp_path: Path) -> None:
    stranger = Authority.ensure(tmp_path / "pki").client("admin", ("system:masters",))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        status(shared, client_tls(shared.authority.ca_pem, stranger), "/api")


def test_a_server_of_another_authority_is_not_believed(shared: Running, tmp_path: Path) -> None:
    tls = client_tls(Authority.ensure(tmp_path / "pki").ca_pem)
    with pytest.raises(ssl.SSLCertVerificationError):
        status(shared, tls, "/api")


@pytest.mark.parametrize(
    ("version", "spoken"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_is_not_spoken(shared: Running, version: ssl.TLSVersion, *, spoken: bool) -> None:
    tls = client_tls(shared.authority.ca_pem)
    tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    tls.maximum_version = version
    tls.set_ciphers("DEFAULT:@SECLEVEL=0")  # or this end would refuse the old version itself
    try:
        with connected(shared, tls) as sock:
            assert (sock.version(), spoken) == (version.name.replace("v1_", "v1."), True)
    except (ssl.SSLError, ConnectionError):
        assert not spoken


def test_a_client_that_never_finishes_its_request_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_server, "IDLE_SECONDS", 0.5)
    running = Running(tmp_path).start()
    try:
        with connected(running, client_tls(running.authority.ca_pem)) as sock:
            sock.sendall(b"GET /api HTTP/1.1\r\nHost: x\r\n")
            ended, deadline = False, time.monotonic() + 60
            sock.settimeout(0.1)
            while not ended and time.monotonic() < deadline:
                try:
                    sock.sendall(b"X-Slow: 1\r\n")
                    ended = sock.recv(1) == b""
                except TimeoutError:
                    continue
                except OSError:
                    ended = True
            assert ended
    finally:
        running.stop()


@pytest.mark.parametrize("head", [b"X-Long: " + b"x" * 100_000, b"".join(b"X-%d: 1\r\n" % n for n in range(40_000))])
def test_endless_headers_are_refused(shared: Running, head: bytes) -> None:
    with connected(shared, client_tls(shared.authority.ca_pem)) as sock:
        try:
            sock.sendall(b"GET /api HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
            answer = sock.recv(100)
        except OSError:
            return  # hung up on while it spoke
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.0 400"))


def test_a_small_request_does_not_unfold_into_a_large_one(ask: Raw) -> None:
    body = gzip.compress(json.dumps({**MAP, "data": {"a": "x" * (64 << 20)}}).encode())
    assert ask("POST", MAPS_PATH, body, Content_Encoding="gzip").code == 413


def test_yaml_that_multiplies_itself_is_refused(ask: Raw) -> None:
    lines = ["apiVersion: v1", "kind: ConfigMap", "metadata: {name: bomb}", "a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    began = time.process_time()  # the server is in this process
    answer = ask("POST", MAPS_PATH, "\n".join(lines).encode(), "application/yaml")
    assert answer.code == 400
    assert "excessive aliasing" in answer.obj["message"]
    assert time.process_time() - began < 5


@pytest.mark.parametrize("text", ["a: &a [*a]", "!!python/object/apply:os.system ['true']", "a: !!binary aGk="])
def test_yaml_beyond_json_is_refused(ask: Raw, text: str) -> None:
    assert ask("POST", MAPS_PATH, text.encode(), "application/yaml").code == 400


@pytest.mark.parametrize("name", ["../x", "..", ".", "a/b", "A", "a" * 254, "a\n", "é", "%2e%2e"])
def test_a_name_that_could_be_a_path_is_refused(ask: Raw, name: str) -> None:
    made = ask("POST", MAPS_PATH, {**MAP, "metadata": {"name": name}})
    assert made.code == 422, made.text


@pytest.mark.parametrize("key", ["../x", "..", "a/b", "..data"])
def test_a_key_that_could_be_a_path_is_refused(ask: Raw, key: str) -> None:
    assert ask("POST", MAPS_PATH, {**MAP, "data": {key: "x"}}).code == 422


PATHS_OUT = [
    ({"configMap": {"name": "m", "items": [{"key": "k", "path": "../x"}]}}, ""),
    ({"configMap": {"name": "m", "items": [{"key": "k", "path": "/x"}]}}, ""),
    ({"secret": {"secretName": "m", "items": [{"key": "k", "path": "a/../../x"}]}}, ""),
    ({"hostPath": {"path": "/var/../../x"}}, ""),
    ({"emptyDir": {}}, "../x"),
]


@pytest.mark.parametrize(("volume", "below"), PATHS_OUT)
def test_a_volume_cannot_name_what_lies_outside(ask: Raw, volume: dict[str, object], below: str) -> None:
    mount = {"name": "v", "mountPath": "/v", "subPath": below}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {
            "containers": [{"name": "c", "image": "x", "volumeMounts": [mount]}],
            "volumes": [{"name": "v", **volume}],
        },
    }  # fmt: skip
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    ask("POST", MAPS_PATH.replace("configmaps", "serviceaccounts"), account)
    refused = ask("POST", MAPS_PATH.replace("configmaps", "pods"), pod)
    assert refused.code == 422, refused.text
    assert ".." in refused.text or "relative" in refused.text


ACCOUNT, SCHEDULER = "system:serviceaccount:default:default", "system:kube-scheduler"
RIGHTS = [
    (ACCOUNT, "get", "pods", "", False),
    (ACCOUNT, "list", "secrets", "", False),
    (ACCOUNT, "create", "pods", "exec", False),
    (ACCOUNT, "impersonate", "users", "", False),
    (SCHEDULER, "create", "pods", "binding", True),
    (SCHEDULER, "get", "secrets", "", False),
    (SCHEDULER, "create", "pods", "", False),
]


@pytest.mark.parametrize(("user", "verb", "resource", "subresource", "allowed"), RIGHTS)
def test_an_account_may_what_its_roles_say(
    ask: Raw, user: str, verb: str, resource: str, subresource: str, allowed: bool
) -> None:
    groups = ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    wanted = {"namespace": "default", "verb": verb, "resource": resource, "subresource": subresource}
    review = {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups if user == ACCOUNT else groups[2:], "resourceAttributes": wanted},
    }  # fmt: skip
    answer = ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer.obj["status"].get("allowed", False) is allowed
