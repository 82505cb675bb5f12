"""Service account tokens: JWTs signed with ES256 (RFC 7519, RFC 7518 section 3.4), bound to an account and often a pod.

A token dies at its end, or with its owners. Signatures are checked once a token; the rest on every request.
"""

import base64
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from clew.api.objects import Object
from clew.base.clock import Clock
from clew.cluster.apiserver.identity import AUTHENTICATED, Identity, account_groups, service_account

_REMEMBERED = 4096  # tokens whose signature need not be checked again
_EXTRA = "authentication.kubernetes.io/"
_SKEW = 10  # seconds by which clocks of one machine may seem to differ


class Owner(NamedTuple):
    """What must still be there for a token to hold."""

    resource: str
    namespace: str
    name: str
    uid: str


class Tokens:
    """Signs and reads tokens of one issuer."""

    def __init__(self, key_pem: bytes, issuer: str, clock: Clock) -> None:
        key = load_pem_private_key(key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the service account key must be an EC key")
        self._key = key
        self._public = key.public_key()
        point = self._public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self._point = (_encode(point[1:33]).decode(), _encode(point[33:]).decode())
        self.key_id = _encode(point[1:33])[:16].decode()
        self.issuer = issuer
        self._clock = clock
        self._read: dict[str, Object] = {}

    def issue(
        self, account: Object, audiences: Sequence[str], seconds: int, bound: Sequence[tuple[str, Object]]
    ) -> str:
        """A token for a ServiceAccount object; `bound` are ("pod"|"node"|"secret", object) it shall die with."""
        meta = account["metadata"]
        now = int(self._clock.now().timestamp())
        private: Object = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        for word, owner in bound:
            private[word] = {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        claims = {
            "aud": list(audiences), "exp": now + seconds, "iat": now, "iss": self.issuer,
            "jti": secrets.token_hex(16), "kubernetes.io": private, "nbf": now,
            "sub": service_account(meta["namespace"], meta["name"]),
        }  # fmt: skip
        head = {"alg": "ES256", "kid": self.key_id, "typ": "JWT"}
        body = _encode(msgspec.json.encode(head)) + b"." + _encode(msgspec.json.encode(claims))
        r, s = decode_dss_signature(self._key.sign(body, ec.ECDSA(hashes.SHA256())))
        return (body + b"." + _encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()

    def read(
        self, token: str, audiences: Sequence[str], alive: Callable[[Owner], bool]
    ) -> tuple[Identity, tuple[str, ...]] | None:
        """The account of a valid token and those of `audiences` it is for; None for any other token."""
        claims = self._claims(token)
        if claims is None:
            return None
        meant = tuple(each for each in audiences if each in claims["aud"])
        private = claims["kubernetes.io"]
        namespace, account = private["namespace"], private["serviceaccount"]
        owners = [Owner("serviceaccounts", namespace, account["name"], account["uid"])]
        owners += [
            Owner(f"{word}s", namespace, private[word]["name"], private[word]["uid"])
            for word in ("pod", "secret")
            if word in private
        ]
        if not meant or not all(map(alive, owners)):
            return None
        groups = (*account_groups(namespace), AUTHENTICATED)
        return Identity(claims["sub"], groups, account["uid"], _extra(claims)), meant

    def _claims(self, token: str) -> Object | None:
        claims = self._read.get(token)
        if claims is None:
            claims = self._verified(token)
            if claims is None:
                return None
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            self._read[token] = claims
        now = self._clock.now().timestamp()
        if claims["nbf"] - _SKEW <= now < claims["exp"]:
            return claims
        return None

    def _verified(self, token: str) -> Object | None:
        try:
            body, _, signature = token.encode("ascii").rpartition(b".")
            head, _, payload = body.partition(b".")
            raw = _decode(signature)
            if len(raw) != 64 or msgspec.json.decode(_decode(head)).get("alg") != "ES256":
                return None
            der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            self._public.verify(der, body, ec.ECDSA(hashes.SHA256()))
            claims: Object = msgspec.json.decode(_decode(payload))
        except (InvalidSignature, ValueError, AttributeError):
            return None
        return claims if claims.get("iss") == self.issuer and "kubernetes.io" in claims else None

    def keys(self) -> Object:
        """The public key as a JWK set (RFC 7517), for those who verify tokens themselves."""
        x, y = self._point
        key = {"use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256", "x": x, "y": y}
        return {"keys": [key]}

    def configuration(self, jwks_uri: str) -> Object:
        """OpenID Connect discovery, as far as service accounts have it."""
        return {
            "issuer": self.issuer, "jwks_uri": jwks_uri, "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        }  # fmt: skip


def _extra(claims: Object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    private = claims["kubernetes.io"]
    extra = [(f"{_EXTRA}credential-id", (f"JTI={claims['jti']}",))]
    for word in ("node", "pod"):
        if word in private:
            extra.append((f"{_EXTRA}{word}-name", (private[word]["name"],)))
            extra.append((f"{_EXTRA}{word}-uid", (private[word]["uid"],)))
    return tuple(extra)


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(data: bytes) -> bytes:
    return base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))
