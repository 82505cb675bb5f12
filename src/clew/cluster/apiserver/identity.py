"""Who asks: a client certificate's subject or a service account's token, and nothing else; anonymous is refused.

Tokens are JWTs signed with ES256 (RFC 7519, RFC 7518 section 3.4); a bound one dies with its pod or account.
"""

import base64
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from clew.api.objects import Object
from clew.base.clock import Clock
from clew.base.value import Value
from clew.cluster.apiserver.errors import ApiRefusal

AUTHENTICATED = "system:authenticated"


class Identity(Value):
    name: str
    groups: tuple[str, ...]
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


def unauthorized() -> ApiRefusal:
    return ApiRefusal(401, "Unauthorized", "Unauthorized")


def from_certificate(peer: dict[str, Any]) -> Identity | None:
    """CN is the user and each O a group (`ssl.SSLSocket.getpeercert` form; the TLS layer has verified the chain)."""
    names: dict[str, list[str]] = {}
    for relative in peer.get("subject", ()):
        for kind, value in relative:
            names.setdefault(kind, []).append(value)
    if not names.get("commonName"):
        return None
    return Identity(names["commonName"][0], (*names.get("organizationName", ()), AUTHENTICATED))


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(data: bytes) -> bytes:
    return base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))


class Tokens:
    """Signs and reads service account tokens."""

    def __init__(self, key_pem: bytes, issuer: str, clock: Clock) -> None:
        key = load_pem_private_key(key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the service account key must be an EC key")
        self._key = key
        self._public = key.public_key()
        self.issuer = issuer
        self._clock = clock

    def issue(self, account: Object, audiences: list[str], seconds: int, bound: Object | None) -> tuple[str, int]:
        """A token for a ServiceAccount object, bound to `bound` (a Pod or Secret) if given; and its end (epoch)."""
        meta = account["metadata"]
        now = int(self._clock.now().timestamp())
        private: Object = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        if bound:
            owner = bound["metadata"]
            private[bound["kind"].lower()] = {"name": owner["name"], "uid": owner["uid"]}
        claims = {
            "aud": audiences or [self.issuer], "exp": now + seconds, "iat": now, "iss": self.issuer,
            "jti": secrets.token_hex(16), "kubernetes.io": private, "nbf": now,
            "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
        }  # fmt: skip
        head = _encode(b'{"alg":"ES256","typ":"JWT"}')
        body = head + b"." + _encode(msgspec.json.encode(claims))
        r, s = decode_dss_signature(self._key.sign(body, ec.ECDSA(hashes.SHA256())))
        signature = _encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return (body + b"." + signature).decode(), now + seconds

    def read(self, token: str, audience: str, alive: Callable[[str, str, str, str], bool]) -> Identity | None:
        """The account of a valid token, else None. `alive(kind, namespace, name, uid)`: are its owners there."""
        claims = self._claims(token)
        if claims is None or audience not in claims["aud"]:
            return None
        private = claims["kubernetes.io"]
        namespace, account = private["namespace"], private["serviceaccount"]
        owners = [("serviceaccounts", account), ("pods", private.get("pod")), ("secrets", private.get("secret"))]
        for kind, owner in owners:
            if owner and not alive(kind, namespace, owner["name"], owner["uid"]):
                return None
        extra: list[tuple[str, tuple[str, ...]]] = []
        if pod := private.get("pod"):
            extra = [
                ("authentication.kubernetes.io/pod-name", (pod["name"],)),
                ("authentication.kubernetes.io/pod-uid", (pod["uid"],)),
            ]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
        return Identity(claims["sub"], groups, account["uid"], tuple(extra))

    def _claims(self, token: str) -> Object | None:
        try:
            body, _, signature = token.encode("ascii").rpartition(b".")
            raw = _decode(signature)
            if len(raw) != 64 or msgspec.json.decode(_decode(body.split(b".")[0])).get("alg") != "ES256":
                return None
            der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            self._public.verify(der, body, ec.ECDSA(hashes.SHA256()))
            claims: Object = msgspec.json.decode(_decode(body.split(b".")[1]))
        except (InvalidSignature, ValueError, IndexError):
            return None
        now = self._clock.now().timestamp()
        if claims.get("iss") != self.issuer or not claims.get("nbf", 0) - 5 <= now < claims.get("exp", 0):
            return None
        return claims
