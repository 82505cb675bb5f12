"""bind: the addresses that a server block listens on, instead of all; see README.md."""

import ctypes
import socket
from collections.abc import Iterator
from ipaddress import ip_address

from clew.servers.dns.arguments import some_arguments, unknown_property
from clew.servers.dns.chain import Context, Plugin, Site
from clew.servers.dns.corefile import Directive, Word


class Bind(Plugin):
    """`hosts` are addresses; whoever makes the sockets reads them."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self.hosts = hosts


class _Interface(ctypes.Structure):
    """struct ifaddrs, as far as it is read."""


_Interface._fields_ = [
    ("next", ctypes.POINTER(_Interface)), ("name", ctypes.c_char_p), ("flags", ctypes.c_uint),
    ("address", ctypes.POINTER(ctypes.c_ubyte)),
]  # fmt: skip


def interface_addresses() -> dict[str, list[str]]:
    """The machine's addresses by interface, in both families (getifaddrs(3))."""
    libc = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_Interface)()
    if libc.getifaddrs(ctypes.byref(first)):
        raise OSError(ctypes.get_errno(), "getifaddrs")
    try:
        found: dict[str, list[str]] = {}
        for each in _all(first):
            address = _address(each)
            if address:
                found.setdefault(each.name.decode(), []).append(address)
        return found
    finally:
        libc.freeifaddrs(first)


def _all(pointer: "ctypes._Pointer[_Interface]") -> Iterator[_Interface]:
    while pointer:
        yield pointer.contents
        pointer = pointer.contents.next


def _address(interface: _Interface) -> str:
    if not interface.address:
        return ""
    family = int.from_bytes(bytes(interface.address[:2]), "little")
    if family == socket.AF_INET:
        return str(ip_address(bytes(interface.address[4:8])))
    if family == socket.AF_INET6:
        ip = ip_address(bytes(interface.address[8:24]))
        return f"{ip}%{interface.name.decode()}" if ip.is_link_local else str(ip)
    return ""


def _addresses(word: Word, interfaces: dict[str, list[str]]) -> list[str]:
    if word.text in interfaces:
        return interfaces[word.text]
    try:
        ip_address(word.text.partition("%")[0])
    except ValueError:
        raise word.error(f"{word.text!r} is no address and no interface of this machine") from None
    return [word.text]


def setup(directive: Directive, _site: Site, _context: Context) -> Bind:
    interfaces = interface_addresses()
    wanted = [host for word in some_arguments(directive) for host in _addresses(word, interfaces)]
    without: set[str] = set()
    for inner in directive.block:
        if inner.name.text != "except":
            raise unknown_property(directive, inner, ("except",))
        without.update(host for word in some_arguments(inner) for host in _addresses(word, interfaces))
    hosts = tuple(dict.fromkeys(host for host in wanted if host not in without))
    if not hosts:
        raise directive.name.error("bind leaves no address to listen on")
    return Bind(hosts)
