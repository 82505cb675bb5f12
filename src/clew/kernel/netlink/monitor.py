"""Hears of links and addresses that change and routes that go, so that repair need not wait for the next reading.

Not a source of truth: events may be lost (`Overrun`), and the kernel says nothing of the routes that it drops with a
link or an address. They are a reason to read back. Read by the event loop when the socket is readable; it never blocks.
"""

import contextlib
import errno
import socket
from types import TracebackType
from typing import Self

from clew.base.value import Value
from clew.kernel.errors import KernelError
from clew.kernel.netlink import links, neighbours, routes, wire
from clew.kernel.netlink.values import Link, Route
from clew.kernel.netns import Namespace, socket_in

GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # RTMGRP_LINK, and of both families _IFADDR and _ROUTE
AF_BRIDGE = 7
LARGEST = 1 << 16


class LinkChanged(Value):
    """A link came, went or changed."""

    link: Link
    gone: bool


class AddressChanged(Value):
    """A link got or lost an address (link-local ones, which come with every link, are not told); it is not named."""

    address: str  # "172.30.0.11/24"
    gone: bool


class RouteGone(Value):
    """A route was removed; its link is not named."""

    route: Route


class Overrun(Value):
    """Events were lost: anything may have changed."""


Event = LinkChanged | AddressChanged | RouteGone | Overrun


class Monitor:
    """Events of `ns` from now on; None: of the caller's namespace."""

    def __init__(self, ns: Namespace | None = None) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        arguments = (socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket = socket.socket(*arguments) if ns is None else socket_in(ns, *arguments)
        self._socket.bind((0, GROUPS))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> list[Event]:
        """All that waits to be heard."""
        events: list[Event] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    data = memoryview(self._socket.recv(LARGEST))
                except BlockingIOError:
                    raise
                except OSError as problem:
                    if problem.errno != errno.ENOBUFS:
                        raise KernelError(problem.errno or 0, "listen to rtnetlink") from problem
                    events.append(Overrun())
                    continue
                events += _events(data)
        return events

    def close(self) -> None:
        self._socket.close()


def _events(data: memoryview) -> list[Event]:
    found: list[Event] = []
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _flags, _sequence, _port = wire.HEADER.unpack_from(data, offset)
        body = data[offset + 16 : offset + length]
        if kind in {links.RTM_NEWLINK, links.RTM_DELLINK} and body[0] != AF_BRIDGE:  # of a bridge's port: half a link
            found.append(LinkChanged(links.decode(body), kind == links.RTM_DELLINK))
        elif kind in {neighbours.RTM_NEWADDR, neighbours.RTM_DELADDR}:
            address = neighbours.decode_address(body, _unnamed)
            if not address.link_local:
                found.append(AddressChanged(address.address, kind == neighbours.RTM_DELADDR))
        elif kind == routes.RTM_DELROUTE and (route := routes.decode(body, _unnamed)) is not None:
            found.append(RouteGone(route))
        offset += (length + 3) & ~3
    return found


def _unnamed(index: int) -> str:
    return f"if{index}"
