"""Who we are to an API server and whom we trust: TLS contexts, token files, a pod's service account.

Not a kubeconfig reader (kubeconfig.py); called by it and by the client.
"""

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from clew.base.addresses import with_port
from clew.base.errors import UserError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Access(NamedTuple):
    """All that a client needs. `server_name` replaces the host in the certificate's check where it is not empty."""

    server: str
    ssl: ssl.SSLContext | None
    token: Callable[[], str] | None = None
    server_name: str = ""
    namespace: str = "default"


class TokenFile:
    """A bearer token that somebody rotates: read again whenever the file changes. Raises UserError when it is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._token = ""

    def __call__(self) -> str:
        try:
            found = self._path.stat()  # through the kubelet's symbolic link, so a swap of the folder is seen too
            mark = (found.st_mtime_ns, found.st_ino)
            if mark != self._seen:
                self._token = self._path.read_text().strip()
                self._seen = mark
        except OSError as error:
            if not self._token:
                said = f"cannot read the token file {self._path}: {error.strerror}"
                raise UserError(said, "give --kubeconfig where no service account is mounted") from error
        return self._token


def tls_context(ca_pem: bytes = b"", certificate_pem: bytes = b"", key_pem: bytes = b"") -> ssl.SSLContext:
    """Trust `ca_pem` (the system's authorities when empty) and present the certificate, if any. Raises UserError."""
    context = ssl.create_default_context()
    try:
        if ca_pem:
            context = ssl.create_default_context(cadata=ca_pem.decode())
        if certificate_pem:
            _present(context, certificate_pem + b"\n" + key_pem)
    except (ssl.SSLError, ValueError) as error:
        said = f"a certificate or key is not valid PEM, or they do not fit: {error}"
        raise UserError(said, "take them anew from whoever made them") from error
    # kubectl accepts authorities without an authority key identifier, which 3.13's strict flag would refuse.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
    return context


def _present(context: ssl.SSLContext, pem: bytes) -> None:
    """OpenSSL reads keys from files only; an anonymous one in memory leaves no secret on a disk."""
    number = os.memfd_create("clew-key", os.MFD_CLOEXEC)
    try:
        os.write(number, pem)
        context.load_cert_chain(f"/proc/self/fd/{number}")
    finally:
        os.close(number)


def in_cluster(account: Path = ACCOUNT, environment: dict[str, str] | None = None) -> Access:
    """By the usual files and `KUBERNETES_SERVICE_HOST`/`_PORT`. Raises UserError where this is no pod."""
    env = os.environ if environment is None else environment
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not port.isdigit():
        raise UserError("this is no pod: KUBERNETES_SERVICE_HOST is not set", "give --kubeconfig")
    try:
        context = tls_context((account / "ca.crt").read_bytes())
        namespace = (account / "namespace").read_text().strip() if (account / "namespace").exists() else "default"
    except OSError as error:
        said = f"cannot read the service account's files in {account}: {error.strerror}"
        raise UserError(said, "mount them, or give --kubeconfig") from error
    return Access(f"https://{with_port(host, int(port))}", context, TokenFile(account / "token"), "", namespace)
