"""The formats of strings that CustomResourceDefinitions may ask for; an unknown format is no demand.

Source of the list: k8s.io/apiextensions-apiserver pkg/apiserver/validation/formats.go.
"""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, datetime
from ipaddress import IPv4Address, IPv6Address, ip_network
from urllib.parse import urlsplit
from uuid import UUID


def fits_format(name: str, value: str) -> bool:
    check = _FORMATS.get(name.replace("-", ""))
    if check is None:
        return True
    try:
        return check(value)
    except (ValueError, binascii.Error):
        return False


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    """Whether a parser takes the text; those that do not raise ValueError."""

    def check(value: str) -> bool:
        parse(value)
        return True

    return check


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: compiled.fullmatch(value) is not None


def _moment(value: str) -> bool:
    datetime.fromisoformat(value)
    return "T" in value.upper() and re.search(r"(Z|[+-]\d\d:\d\d)$", value, re.IGNORECASE) is not None


def _uri(value: str) -> bool:
    parts = urlsplit(value)
    return bool(parts.scheme or value.startswith("/"))


def _cidr(value: str) -> bool:
    ip_network(value, strict=False)
    return "/" in value


def _uuid(version: int | None) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        found = UUID(value)
        return version is None or found.version == version

    return check


_HOST = r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_FORMATS: dict[str, Callable[[str], bool]] = {
    "ipv4": _parses(IPv4Address),
    "ipv6": _parses(IPv6Address),
    "cidr": _cidr,
    "mac": _matches(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"),
    "uuid": _uuid(None),
    "uuid3": _uuid(3),
    "uuid4": _uuid(4),
    "uuid5": _uuid(5),
    "byte": _parses(lambda value: base64.b64decode(value, validate=True)),
    "date": _parses(date.fromisoformat),
    "datetime": _moment,
    "duration": _matches(r"[+-]?(\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|h|d|w)\s*)+|\d+|P.*"),
    "hostname": _matches(rf"{_HOST}(\.{_HOST})*"),
    "uri": _uri,
    "email": _matches(r"[^@\s]+@[^@\s]+\.?[^@\s]*"),
    "hexcolor": _matches(r"#?([0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})"),
    "bsonobjectid": _matches(r"[0-9A-Fa-f]{24}"),
}
