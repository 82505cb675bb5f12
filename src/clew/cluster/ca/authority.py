"""The authority on disk: one folder, made once, used again by every later start of the lab.

Files (all 0600, each written whole): `ca.crt ca.key sa.key`, and `NAME.crt NAME.key` for every credential that was
asked for under a name. A root that nears its end is signed anew with its old key, so that what it signed stays good;
a leaf that nears its end, or names something else, is made anew.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from clew.base.clock import Clock, SystemClock
from clew.base.errors import UserError
from clew.cluster.ca.certificates import (
    Credential,
    Subject,
    authority_certificate,
    key_pem,
    lasting_authority,
    leaf,
    new_key,
    read_key,
    still_good,
)
from clew.kernel import files

NAME = "clew-ca"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class Authority:
    """Signs the lab's certificates. Blocking; a new certificate costs about 1 ms."""

    def __init__(self, folder: Path, ca_pem: bytes, key: ec.EllipticCurvePrivateKey, clock: Clock) -> None:
        self.folder = folder
        self.ca_pem = ca_pem
        self._key = key
        self._certificate = x509.load_pem_x509_certificate(ca_pem)
        self._clock = clock

    @classmethod
    def ensure(cls, folder: Path, clock: Clock | None = None) -> "Authority":
        """The authority that lives in `folder`, made there if it is not. UserError where a file is damaged."""
        clock = clock or SystemClock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = _key_at(folder / "ca.key")
        path = folder / "ca.crt"
        now = clock.now()
        pem = path.read_bytes() if path.exists() else b""
        if not lasting_authority(pem, key, now):
            pem = authority_certificate(key, NAME, now)
            files.replace(path, pem)
        return cls(folder, pem, key, clock)

    def client(self, user: str, groups: Sequence[str] = ()) -> Credential:
        """A user's certificate, kept under the user's name."""
        return self._credential(f"client-{_UNSAFE.sub('-', user)}", Subject(user, tuple(groups)))

    def server(self, names: Sequence[str], addresses: Sequence[str]) -> Credential:
        """The API server's certificate for every name and address by which it is reached."""
        return self._credential("server", Subject("kube-apiserver", (), tuple(names), tuple(addresses)))

    def service_account_key(self) -> bytes:
        """The PEM of the private key that signs service accounts' tokens (ES256)."""
        return key_pem(_key_at(self.folder / "sa.key"))

    def _credential(self, name: str, subject: Subject) -> Credential:
        cert_path, key_path = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        now = self._clock.now()
        if cert_path.exists() and key_path.exists():
            stored = Credential(cert_path.read_bytes(), key_path.read_bytes())
            if still_good(stored, subject, self._certificate, now):
                return stored
        made = leaf(subject, self._certificate, self._key, now)
        files.replace(key_path, made.key_pem)
        files.replace(cert_path, made.cert_pem)  # last: a certificate without its key would be no credential
        return made


def _key_at(path: Path) -> ec.EllipticCurvePrivateKey:
    if path.exists():
        try:
            return read_key(path.read_bytes())
        except ValueError as problem:
            raise UserError(f"{path} is not a usable private key", "remove the lab with clew down") from problem
    key = new_key()
    files.replace(path, key_pem(key))
    return key
