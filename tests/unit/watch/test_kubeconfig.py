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


def test_several_files_are_one_as_in_the_variable(tmp_path: Path) -> None:
    """`clew install` took all of $KUBECONFIG for one file's name. Files that are named stand beside their own file."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    first = one / "config"
    first.write_text("kind: Config\ncurrent-context: a\nusers: [{name: u, user: {token: first}}]\n")
    (other / "crt").write_bytes(pair()[0])
    second = write(other, {"certificate-authority": "crt"}, {"token": "second"})
    access = load(f"{first}:{tmp_path}/none:{second}")
    assert access.server == "https://127.0.0.1:6443"
    assert access.token is not None
    assert access.token() == "first"
    with pytest.raises(UserError, match=f"cannot read the kubeconfig {tmp_path}/none"):
        load(f"{tmp_path}/none:{tmp_path}/neither")


@pytest.mark.parametrize(
    ("cluster", "user", "words"),
    [
        ({"certificate-authority": "absent"}, {}, "certificate-authority absent"),
        ({"certificate-authority-data": "!"}, {}, "certificate-authority-data is not base64"),
        ({"certificate-authority-data": base64.b64encode(b"no pem").decode()}, {}, "not valid PEM"),
        ({"server": "tcp://x"}, {}, "no usable server"),
        ({"insecure-skip-tls-verify": True}, {}, "insecure-skip-tls-verify"),
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
