"""X.509 certificates on P-256 keys, as values: made, read, judged. No file is touched here.

Profiles follow RFC 5280 as strict verifiers (OpenSSL's X509_STRICT, Go) want them: key identifiers, key usage,
basic constraints, and a purpose on every leaf. A user is the common name and its groups are the organizations,
which is how Kubernetes reads client certificates.
"""

from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=60)
CLOCKS_DIFFER = timedelta(hours=1)


class Credential(NamedTuple):
    """A certificate and its private key, both PEM (the key in PKCS 8)."""

    cert_pem: bytes
    key_pem: bytes


class Subject(NamedTuple):
    """Whom a leaf names. With names or addresses it is a server's, else a client's."""

    common_name: str
    organizations: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def is_server(self) -> bool:
        return bool(self.names or self.addresses)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """ValueError for anything but a private key on an elliptic curve."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic curve key")  # noqa: TRY004 - the file's content is wrong, not a type
    return key


def authority_certificate(key: ec.EllipticCurvePrivateKey, name: str, now: datetime) -> bytes:
    """A self-signed root that may sign leaves and nothing below them."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def leaf(
    subject: Subject, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, now: datetime
) -> Credential:
    """A certificate on a new key, for a server (with its names) or a client."""
    key = new_key()
    public = key.public_key()
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if subject.is_server else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(authority.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(min(now + LEAF_LIFE, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if subject.is_server:
        builder = builder.add_extension(x509.SubjectAlternativeName(_alternatives(subject)), critical=False)
    signed = builder.sign(authority_key, hashes.SHA256())
    return Credential(signed.public_bytes(serialization.Encoding.PEM), key_pem(key))


def still_good(credential: Credential, subject: Subject, authority: x509.Certificate, now: datetime) -> bool:
    """Whether a stored credential can be used on: it names `subject`, this authority signed it, and it lasts."""
    try:
        certificate = x509.load_pem_x509_certificate(credential.cert_pem)
        certificate.verify_directly_issued_by(authority)
        if read_key(credential.key_pem).public_key() != certificate.public_key():
            return False
    except (ValueError, TypeError, x509.InvalidVersion, InvalidSignature):
        return False
    return (
        certificate.subject == _name(subject)
        and _lasts(certificate, now)
        and _names_of(certificate) == set(_alternatives(subject))
    )


def lasting_authority(pem: bytes, key: ec.EllipticCurvePrivateKey, now: datetime) -> bool:
    """Whether a stored root belongs to this key and lasts long enough to sign leaves."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        return False
    return certificate.public_key() == key.public_key() and certificate.not_valid_after_utc > now + LEAF_LIFE


def _lasts(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE


def _name(subject: Subject) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in subject.organizations]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)])


def _alternatives(subject: Subject) -> list[x509.GeneralName]:
    addresses = [x509.IPAddress(ip_address(address)) for address in subject.addresses]
    return [*(x509.DNSName(name) for name in subject.names), *addresses]


def _names_of(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
