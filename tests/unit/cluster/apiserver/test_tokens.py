"""Service account tokens: asked for, bound, expired, reviewed. And Events, which have an hour."""

import base64
import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from .conftest import Raw, Running
from .samples import CORE, PATHS, POD, changed

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
TOKEN = f"{CORE}/serviceaccounts/bob/token"
ISSUER = "https://kubernetes.default.svc.cluster.local"
POD_OF_BOB = changed(POD, "spec.serviceAccountName", "bob")


@pytest.fixture
def bob(call: Raw) -> Any:
    return call("POST", f"{CORE}/serviceaccounts", {"metadata": {"name": "bob"}}).obj


def claims(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def whoami(running: Running, token: str) -> tuple[int, Any]:
    raw = Raw(running, token=token)
    answer = raw("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    raw.close()
    return answer.code, answer.obj["status"]["userInfo"] if answer.code == 201 else None


def ask_token(call: Raw, **spec: Any) -> Any:
    answer = call("POST", TOKEN, {"spec": spec})
    assert answer.code == 201, answer.text
    return answer.obj


def test_a_token_is_the_account(running: Running, call: Raw, bob: Any) -> None:
    made = ask_token(call)
    assert made["kind"] == "TokenRequest"
    assert made["spec"] == {"audiences": [ISSUER], "expirationSeconds": 3600}
    told = claims(made["status"]["token"])
    assert told["sub"] == "system:serviceaccount:default:bob"
    assert told["kubernetes.io"] == {
        "namespace": "default", "serviceaccount": {"name": "bob", "uid": bob["metadata"]["uid"]},
    }  # fmt: skip
    assert told["exp"] - told["iat"] == 3600
    code, who = whoami(running, made["status"]["token"])
    assert (code, who["username"], who["uid"]) == (201, told["sub"], bob["metadata"]["uid"])
    assert who["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    assert who["extra"] == {"authentication.kubernetes.io/credential-id": [f"JTI={told['jti']}"]}


def test_a_token_ends(running: Running, call: Raw, bob: Any) -> None:  # noqa: ARG001 - bob must be there
    token = ask_token(call, expirationSeconds=600)["status"]["token"]
    running.clock.ahead = timedelta(seconds=590)
    assert whoami(running, token)[0] == 201
    running.clock.ahead = timedelta(seconds=601)
    assert whoami(running, token) == (401, None)


def test_a_token_for_somebody_else_is_none_for_us(running: Running, call: Raw, bob: Any) -> None:  # noqa: ARG001
    token = ask_token(call, audiences=["vault"])["status"]["token"]
    assert whoami(running, token)[0] == 401

    def review(**spec: Any) -> Any:
        return call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token, **spec}}).obj

    assert review()["status"] == {"user": {}, "error": "invalid bearer token"}
    seen = review(audiences=["vault", "other"])["status"]
    assert (seen["authenticated"], seen["audiences"]) == (True, ["vault"])
    assert seen["user"]["username"] == "system:serviceaccount:default:bob"


def test_a_token_dies_with_its_pod_and_with_its_account(running: Running, call: Raw, bob: Any) -> None:
    pod = call("POST", PATHS["Pod"], POD_OF_BOB).obj
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]}
    bound = ask_token(call, boundObjectRef=reference)
    assert bound["spec"]["boundObjectRef"] == reference
    token, plain = bound["status"]["token"], ask_token(call)["status"]["token"]
    who = whoami(running, token)[1]
    assert who["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    assert who["extra"]["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]]
    call("DELETE", f"{PATHS['Pod']}/p?gracePeriodSeconds=0")
    assert whoami(running, token)[0] == 401
    call("POST", PATHS["Pod"], POD_OF_BOB)
    assert whoami(running, token)[0] == 401  # another pod of that name is another pod
    assert whoami(running, plain)[0] == 201
    call("DELETE", f"{CORE}/serviceaccounts/bob")
    call("POST", f"{CORE}/serviceaccounts", {"metadata": {"name": "bob"}})
    assert whoami(running, plain)[0] == 401
    assert bob["metadata"]["uid"]


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"expirationSeconds": 599}, 422,
         ('TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not'
          " specify a duration less than 10 minutes")),
        ({"expirationSeconds": (1 << 32) + 1}, 422,
         ('TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not'
          " specify a duration larger than 2^32 seconds")),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "x"}}, 404, 'pods "x" not found'),
        ({"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "x"}}, 400,
         "cannot bind token to object of type v1, Kind=ConfigMap"),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u"}}, 409,
         "the UID in the bound object reference (u) does not match the UID in record"),
        ({"audiences": "x"}, 400, "cannot unmarshal string into Go struct field TokenRequestSpec.spec.audiences"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for(call: Raw, bob: Any, spec: dict, code: int, message: str) -> None:  # noqa: ARG001
    call("POST", PATHS["Pod"], POD_OF_BOB)
    answer = call("POST", TOKEN, {"spec": spec})
    assert answer.code == code
    assert message in answer.obj["message"]


def test_a_pods_token_is_of_the_account_it_runs_as(call: Raw, bob: Any) -> None:  # noqa: ARG001
    call("POST", f"{CORE}/serviceaccounts", {"metadata": {"name": "default"}})
    call("POST", PATHS["Pod"], POD)
    answer = call("POST", TOKEN, {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}})
    assert answer.obj["message"] == (
        'cannot bind token for serviceaccount "bob" to pod running with different serviceaccount name.'
    )


def test_kubectl_creates_tokens(running: Running, kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "bob")
    kubectl("create", "secret", "generic", "s")
    token = kubectl("create", "token", "bob", "--duration=20m", "--bound-object-kind=Secret", "--bound-object-name=s")
    told = claims(token.stdout.strip())
    assert (told["exp"] - told["iat"], told["kubernetes.io"]["secret"]["name"]) == (1200, "s")
    assert whoami(running, token.stdout.strip())[0] == 201
    kubectl("delete", "secret", "s")
    assert whoami(running, token.stdout.strip())[0] == 401
    assert claims(kubectl("create", "token", "bob", "--audience=a", "--audience=b").stdout)["aud"] == ["a", "b"]


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."])
def test_nobody_comes_in_without_a_name(shared: Running, token: str) -> None:
    raw = Raw(shared, token=token or "none")
    for path in ("/api/v1/pods", "/version", "/apis", "/healthz"):
        answer = raw("GET", path)
        assert (answer.code, answer.obj["reason"], answer.obj["message"]) == (401, "Unauthorized", "Unauthorized")
    raw.close()


def test_events_end_after_an_hour_from_their_last_word(running: Running, call: Raw) -> None:
    now = running.clock.now()

    def event(name: str, **fields: Any) -> None:
        answer = call("POST", f"{CORE}/events", {
            "metadata": {"name": name}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
            "reason": "R", "message": "m", "type": "Normal", **fields,
        })  # fmt: skip
        assert answer.code == 201, answer.text

    event("old", lastTimestamp=now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    later = now + timedelta(minutes=50)
    event("told-again", lastTimestamp=later.strftime("%Y-%m-%dT%H:%M:%SZ"))
    running.clock.ahead = timedelta(minutes=61)
    assert running.run(running.server.chores.end_events()) == 1
    left = call("GET", f"{CORE}/events").obj["items"]
    assert [each["metadata"]["name"] for each in left] == ["told-again"]
    running.clock.ahead = timedelta(minutes=111)
    assert running.run(running.server.chores.end_events()) == 1
