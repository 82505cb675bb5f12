import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clew.base.errors import UserError
from clew.watch.kubeconfig import load


def pair() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(hours=1))
    certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(
        key, hashes.SHA256()
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def write(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> Path:
    path = folder / "config"
    content = {
        "kind": "Config",
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "web"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"} | cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_inline_data_and_files_are_the_same(tmp_path: Path) -> None:
    certificate, key = pair()
    (tmp_path / "crt").write_bytes(certificate)
    (tmp_path / "key").write_bytes(key)
    files = {"client-certificate": "crt", "client-key": "key"}
    data = {f"{name}-data": base64.b64encode((tmp_path / path).read_bytes()).decode() for name, path in files.items()}
    for user in (files, data):
        access = load(write(tmp_path, {"certificate-authority": "crt"}, user))
        assert access.server == "https://127.0.0.1:6443"
        assert access.namespace == "web"
        assert access.ssl is not None
        assert access.ssl.verify_mode == ssl.CERT_REQUIRED
        assert len(access.ssl.get_ca_certs()) == 1


def test_tokens(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from file\n")
    for user, expected in (({"token": "inline"}, "inline"), ({"tokenFile": "token"}, "from file")):
        access = load(write(tmp_path, {}, user))
        assert access.token is not None
        assert access.token() == expected


def test_insecure_is_refused_unless_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, {"insecure-skip-tls-verify": True}, {})
    with pytest.raises(UserError, match="insecure-skip-tls-verify"):
        load(path)
    access = load(path, allow_insecure=True)
    assert access.ssl is not None
    assert access.ssl.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("cluster", "user", "words"),
    [
        ({"certificate-authority": "absent"}, {}, "certificate-authority absent"),
        ({"certificate-authority-data": "!"}, {}, "certificate-authority-data is not base64"),
        ({"certificate-authority-data": base64.b64encode(b"no pem").decode()}, {}, "not valid PEM"),
        ({"server": "tcp://x"}, {}, "no usable server"),
        ({}, {"exec": {"command": "aws"}}, "'exec' is not supported"),
    ],
)
def test_faults_are_named(tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(write(tmp_path, cluster, user))


def test_an_unknown_context_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no context 'b' \(it has: a\)"):
        load(write(tmp_path, {}, {}), "b")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the kubeconfig"):
        load(tmp_path / "none")
