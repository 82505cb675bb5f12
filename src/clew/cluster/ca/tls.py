"""TLS contexts from PEM in memory. TLS 1.2 and later; HTTP/1.1 is what both ends speak."""

import os
import ssl

from clew.cluster.ca.certificates import Credential


def server_tls(credential: Credential, client_ca_pem: bytes) -> ssl.SSLContext:
    """The API server's side: a client may show a certificate of `client_ca_pem`, or none (it then has a token)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=client_ca_pem.decode())
    context.set_alpn_protocols(["http/1.1"])
    _load(context, credential)
    return context


def client_tls(ca_pem: bytes, credential: Credential | None = None) -> ssl.SSLContext:
    """A client's side: the server must be of `ca_pem` and name the host; `credential` says who we are."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca_pem.decode())
    context.set_alpn_protocols(["http/1.1"])
    if credential is not None:
        _load(context, credential)
    return context


def _load(context: ssl.SSLContext, credential: Credential) -> None:
    """The ssl module reads certificates from files only: give it one that no disk ever sees."""
    fd = os.memfd_create("clew-credential", os.MFD_CLOEXEC)
    try:
        os.write(fd, credential.cert_pem + credential.key_pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
