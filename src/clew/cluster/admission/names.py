"""The forms that names, labels, ports and addresses must have (RFC 1123, RFC 1035, RFC 6335, Kubernetes' own).

Each rule takes a value and gives the sentences that the real server says about it: none for a good value.
Source of the texts: k8s.io/apimachinery/pkg/util/validation.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

Rule = Callable[[str], list[str]]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HEADER = "[-A-Za-z0-9]+"

PORT_TEXT = "must be between 1 and 65535, inclusive"
IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR_TEXT = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def _form(pattern: str, sentence: str, *examples: str) -> Callable[[str], list[str]]:
    compiled = re.compile(pattern, re.ASCII)
    shown = ",  or ".join(f"'{each}'" for each in examples)
    text = f"{sentence} (e.g. {shown}, regex used for validation is '{pattern}')"
    return lambda value: [] if compiled.fullmatch(value) else [text]


def _limited(most: int, rule: Rule) -> Rule:
    def check(value: str) -> list[str]:
        long = [f"must be no more than {most} bytes"] if len(value.encode()) > most else []
        return long + rule(value)

    return check


label: Rule = _limited(63, _form(
    _LABEL, "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and"
    " end with an alphanumeric character", "my-name", "123-abc",
))  # fmt: skip
label_1035: Rule = _limited(63, _form(
    _LABEL_1035, "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic"
    " character, and end with an alphanumeric character", "my-name", "abc-123",
))  # fmt: skip
subdomain: Rule = _limited(253, _form(
    _SUBDOMAIN, "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and"
    " must start and end with an alphanumeric character", "example.com",
))  # fmt: skip
label_value: Rule = _limited(63, _form(
    _LABEL_VALUE, "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and"
    " must start and end with an alphanumeric character", "MyValue", "my_value", "12345",
))  # fmt: skip
header_name: Rule = _form(
    _HEADER, "a valid HTTP header must consist of alphanumeric characters or '-'", "X-Header-Name"
)
_qualified_part = _limited(63, _form(
    _QUALIFIED, "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric"
    " character", "MyName", "my.name", "123-abc",
))  # fmt: skip
_config_key = _limited(253, _form(
    _CONFIG_KEY, "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    "key.name", "KEY_NAME", "key-name",
))  # fmt: skip


def qualified(value: str) -> list[str]:
    """The key of a label or annotation: an optional DNS prefix, a slash, and a name."""
    prefix, slash, name = value.rpartition("/")
    found: list[str] = []
    if "/" in prefix:
        sentence = "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end"
        forms = f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
        prefixed = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"{sentence} with an alphanumeric character {forms} {prefixed}"]
    if slash:
        found += [f"prefix part {text}" for text in subdomain(prefix)] if prefix else ["prefix part must be non-empty"]
    if not name:
        found.append("name part must be non-empty")
    return found + [f"name part {text}" for text in _qualified_part(name)]


def config_key(value: str) -> list[str]:
    """The key of a ConfigMap or Secret: it becomes a file's name."""
    found = _config_key(value)
    if value in (".", ".."):
        found.append(f"must not be '{value}'")
    elif value.startswith(".."):
        found.append("must not start with '..'")
    return found


def path_segment(value: str) -> list[str]:
    """The names of roles, which may hold almost anything."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in value]


def env_name(value: str) -> list[str]:
    if value and all(" " <= char <= "~" and char != "=" for char in value):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_name(value: str) -> list[str]:
    """RFC 6335: at most 15 of [a-z0-9-], a letter among them, no double or outer hyphen."""
    found: list[str] = []
    if len(value) > 15:
        found.append("must be no more than 15 characters")
    if not re.fullmatch("[-a-z0-9]+", value, re.ASCII):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def port_number(value: Any) -> list[str]:
    return [] if isinstance(value, int) and 1 <= value <= 65535 else [PORT_TEXT]


def port(value: Any) -> list[str]:
    """A port by number or name, as in targetPort and probes."""
    return port_name(value) if isinstance(value, str) else port_number(value)


def percent_or_number(value: Any) -> list[str]:
    if isinstance(value, str):
        text = "a valid percent string must be a numeric string followed by an ending '%'"
        return _form("[0-9]+%", text, "1%", "93%")(value)
    return [] if isinstance(value, int) and value >= 0 else ["must be greater than or equal to 0"]


def ip(value: str) -> list[str]:
    return [] if parse_ip(value) is not None else [IP_TEXT]


def parse_ip(value: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(value) if "%" not in value else None
    except ValueError:
        return None


def cidr(value: str) -> list[str]:
    try:
        ip_network(value, strict=False)
    except ValueError:
        return [CIDR_TEXT]
    return [] if "/" in value else [CIDR_TEXT]


def special_ip(value: str) -> list[str]:
    """Addresses that mean something else on every node, so that traffic must not be sent to them."""
    address = parse_ip(value)
    if address is None:
        return []
    found: list[str] = []
    if address.is_unspecified:
        found.append("may not be unspecified (0.0.0.0 or ::)")
    if address.is_loopback:
        found.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        found.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if any(address in network for network in _LINK_LOCAL_MULTICAST if network.version == address.version):
        found.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return found


_LINK_LOCAL_MULTICAST = (ip_network("224.0.0.0/24"), ip_network("ff02::/16"))


def local_path(value: str) -> list[str]:
    """A path below some root that it must not leave."""
    found = ["must be a relative path"] if value.startswith("/") else []
    return found + (["must not contain '..'"] if ".." in value.split("/") else [])
