"""IP addresses and networks: Go's netip, without zones and without IPv4 inside IPv6."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from clew.cluster.admission.cel.functions.function import Function, holds, member

_IP, _CIDR, _INT, _BOOL, _TEXT = "net.IP", "net.CIDR", "int", "bool", "string"


def _ip(text: str) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"IP Address {text!r} parse error during conversion from string") from None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"IP address {text!r} with zone value is not allowed")
        if address.ipv4_mapped is not None:
            raise ValueError(f"IPv4-mapped IPv6 address {text!r} is not allowed")
    return address


def _split(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """A network as it is written: its address may have host bits."""
    address, slash, bits = text.partition("/")
    if not slash or not bits.isascii() or not bits.isdecimal() or (len(bits) > 1 and bits[0] == "0"):
        raise ValueError(f"network address parse error during conversion from string: {text!r}")
    try:
        ip = _ip(address)
    except ValueError as wrong:
        raise ValueError(f"network address parse error during conversion from string: {wrong}") from None
    if int(bits) > ip.max_prefixlen:
        raise ValueError(f"network address parse error during conversion from string: {text!r}: prefix length")
    return ip, int(bits)


def _network(text: str) -> IPv4Network | IPv6Network:
    ip, bits = _split(text)
    return ip_network((int(ip) if ip.version == 4 else ip, bits), strict=False)


def _cidr(text: str) -> str:
    ip, bits = _split(text)
    return f"{ip}/{bits}"


def _contains_ip(outer: str, text: str) -> bool:
    return _ip(text) in _network(outer)


def _contains_network(outer: str, text: str) -> bool:
    whole: Any = _network(outer)
    part: Any = _network(text)
    return bool(whole.version == part.version and part.subnet_of(whole))


def _global(text: str) -> bool:
    """Go's meaning: everything that is addressed to one host beyond the link, private addresses too."""
    ip = _ip(text)
    limited = ip == IPv4Address("255.255.255.255")
    return not (limited or ip.is_unspecified or ip.is_loopback or ip.is_multicast or ip.is_link_local)


def _local_multicast(text: str) -> bool:
    ip = _ip(text)
    if isinstance(ip, IPv4Address):
        return ip in IPv4Network("224.0.0.0/24")
    return ip.packed[0] == 0xFF and ip.packed[1] & 0x0F == 2


ADDRESSES = (
    Function("ip", (_TEXT,), _IP, lambda text: str(_ip(text))),
    Function("isIP", (_TEXT,), _BOOL, holds(_ip)),
    Function("ip.isCanonical", (_TEXT,), _BOOL, lambda text: str(_ip(text)) == text),
    Function("string", (_IP,), _TEXT, lambda ip: ip),
    member("family", (_IP,), _INT, lambda ip: _ip(ip).version),
    member("isUnspecified", (_IP,), _BOOL, lambda ip: _ip(ip).is_unspecified),
    member("isLoopback", (_IP,), _BOOL, lambda ip: _ip(ip).is_loopback),
    member("isLinkLocalMulticast", (_IP,), _BOOL, _local_multicast),
    member("isLinkLocalUnicast", (_IP,), _BOOL, lambda ip: _ip(ip).is_link_local),
    member("isGlobalUnicast", (_IP,), _BOOL, _global),
    Function("cidr", (_TEXT,), _CIDR, _cidr),
    Function("isCIDR", (_TEXT,), _BOOL, holds(_split)),
    Function("string", (_CIDR,), _TEXT, lambda cidr: cidr),
    member("containsIP", (_CIDR, _IP), _BOOL, _contains_ip),
    member("containsIP", (_CIDR, _TEXT), _BOOL, _contains_ip),
    member("containsCIDR", (_CIDR, _CIDR), _BOOL, _contains_network),
    member("containsCIDR", (_CIDR, _TEXT), _BOOL, _contains_network),
    member("ip", (_CIDR,), _IP, lambda cidr: cidr.partition("/")[0]),
    member("prefixLength", (_CIDR,), _INT, lambda cidr: _split(cidr)[1]),
    member("masked", (_CIDR,), _CIDR, lambda cidr: str(_network(cidr))),
)
