"""IP addresses and prefixes as small values; IPv4 and IPv6 are one code path with the family in the data."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Family = Literal[4, 6]


def address(text: str) -> Address:
    """An address from its text; ValueError names the text."""
    return ip_address(text)


def network(text: str) -> Network:
    """A prefix from its text, host bits refused; ValueError names the text."""
    return ip_network(text)


def overlap(one: Network, other: Network) -> bool:
    """Whether two prefixes, of whatever families, have an address in common."""
    return one.version == other.version and one.overlaps(other)


def family_of(text: str) -> Family:
    """4 or 6 for an address or prefix in text form."""
    return 6 if ":" in text else 4


def with_port(ip: str, port: int) -> str:
    """`10.0.0.1:80` or `[fd00::1]:80`."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
