"""The real rtnetlink socket: batches sent and acknowledged, dumps read into values.

One send carries up to BATCH messages, each acknowledged by the kernel, which goes on past a refused one. Link names
are turned into indexes batch by batch and never remembered longer: a name may mean another link tomorrow.
About 20 thousand routes a second; a link is made or moved in under a millisecond, deleted in sixteen.
"""

import errno
import functools
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from clew.kernel.errors import KernelError
from clew.kernel.netlink import links, neighbours, routes, traffic, wire
from clew.kernel.netlink.messages import Message, messages_of
from clew.kernel.netlink.requests import Add, Delete, DeleteGroup, Request, SetLink
from clew.kernel.netlink.values import Address, Fdb, Filter, Link, Neighbour, Qdisc, Redirect, Route, Rule
from clew.kernel.netns import Namespace, socket_in

T = TypeVar("T")

SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12
SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
BUFFER = 1 << 20
BATCH = 200
DUMP_TRIES = 10  # the kernel marks a dump that the table changed under; this many in a row are not chance
ANSWER_SECONDS = 10


class Netlink:
    """rtnetlink in `ns` (a path or descriptor; None: the caller's own namespace). May be used from any thread."""

    def __init__(self, ns: Namespace | None = None) -> None:
        arguments = (socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket = socket.socket(*arguments) if ns is None else socket_in(ns, *arguments)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._grow_buffers()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(ANSWER_SECONDS))
        self._socket.bind((0, 0))
        self._sequence = 0
        self._lock = threading.Lock()
        self._buffer = bytearray(BUFFER)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def request(self, batch: Sequence[Request]) -> None:
        for answer in self.attempt(batch):
            if answer is not None:
                raise answer

    def attempt(self, batch: Sequence[Request]) -> list[KernelError | None]:
        with self._lock:
            return _Batch(self._exchange, self._find, batch).run()

    def link(self, name: str) -> Link | None:
        with self._lock:
            found = self._find(name)
            if found is None or not found.master:
                return found
            return _with_masters([found, *self._links()])[0]

    def links(self) -> list[Link]:
        with self._lock:
            return _with_masters(self._links())

    def addresses(self) -> list[Address]:
        return self._read(neighbours.RTM_GETADDR, [neighbours.query_addresses()], neighbours.decode_address)

    def routes(self, *, proto: int = 0, table: int = 0) -> list[Route]:
        bodies = [routes.query(family, table, proto) for family in neighbours.FAMILIES]
        return self._read(routes.RTM_GETROUTE, bodies, routes.decode)

    def neighbours(self) -> list[Neighbour]:
        bodies = [
            neighbours.query_neighbours(family, proxy=proxy)
            for family in neighbours.FAMILIES
            for proxy in (False, True)
        ]
        return self._read(neighbours.RTM_GETNEIGH, bodies, neighbours.decode_neighbour)

    def fdb(self) -> list[Fdb]:
        return self._read(neighbours.RTM_GETNEIGH, [neighbours.query_fdb()], neighbours.decode_fdb)

    def rules(self) -> list[Rule]:
        bodies = [routes.query_rules(family) for family in neighbours.FAMILIES]
        return self._read(routes.RTM_GETRULE, bodies, lambda body, _name_of: routes.decode_rule(body))

    def qdiscs(self) -> list[Qdisc]:
        return self._read(traffic.RTM_GETQDISC, [traffic.query_qdiscs()], traffic.decode_qdisc)

    def filters(self, dev: str) -> list[Filter]:
        found: list[Filter] = []
        link = self.link(dev)
        if link is not None:
            for direction in traffic.HOOKS:
                decode = functools.partial(traffic.decode_filter, direction=direction)
                found += self._read(traffic.RTM_GETTFILTER, [traffic.query_filters(link.index, direction)], decode)
        return found

    def redirects(self, dev: str) -> list[Redirect]:
        link = self.link(dev)
        if link is None:
            return []
        return self._read(
            traffic.RTM_GETTFILTER, [traffic.query_filters(link.index, "ingress")], traffic.decode_redirect
        )

    def _read(
        self, kind: int, bodies: Sequence[bytes], decode: Callable[[memoryview, Callable[[int], str]], T | None]
    ) -> list[T]:
        with self._lock:
            names = {link.index: link.name for link in self._links()}

            def name_of(index: int) -> str:
                return names.get(index, f"if{index}")

            found = (decode(body, name_of) for query in bodies for body in self._dump(kind, query))
            return [thing for thing in found if thing is not None]

    def _links(self) -> list[Link]:
        return [links.decode(body) for body in self._dump(links.RTM_GETLINK, links.query())]

    def _find(self, name: str) -> Link | None:
        self._sequence += 1
        body = links.query(name)
        head = wire.HEADER.pack(16 + len(body), links.RTM_GETLINK, wire.NLM_F_REQUEST, self._sequence, 0)
        self._send(head + body)
        for kind, _flags, payload in self._receive({self._sequence}):
            if kind == wire.NLMSG_ERROR:
                number, detail = _refusal(payload, _flags)
                if number == errno.ENODEV:
                    return None
                raise KernelError(number, f"look up link {name}", detail=detail)
            return links.decode(payload)
        raise AssertionError("the kernel answered a question with nothing")

    def _exchange(self, batch: Sequence[Message]) -> list[tuple[int, str]]:
        """Send messages, gather their acknowledgements: (errno or 0, the kernel's sentence) each."""
        results: list[tuple[int, str]] = []
        for start in range(0, len(batch), BATCH):
            part = batch[start : start + BATCH]
            first = self._sequence + 1
            self._sequence += len(part)
            self._send(
                b"".join(
                    wire.HEADER.pack(16 + len(body), kind, flags | wire.NLM_F_REQUEST | wire.NLM_F_ACK, first + i, 0)
                    + body
                    for i, (kind, flags, body) in enumerate(part)
                )
            )
            waiting = set(range(first, first + len(part)))
            for kind, flags, payload in self._receive(waiting):
                if kind == wire.NLMSG_ERROR:
                    results.append(_refusal(payload, flags))
        return results

    def _dump(self, kind: int, body: bytes) -> list[memoryview]:
        for _ in range(DUMP_TRIES):
            self._sequence += 1
            flags = wire.NLM_F_REQUEST | wire.NLM_F_DUMP
            self._send(wire.HEADER.pack(16 + len(body), kind, flags, self._sequence, 0) + body)
            bodies, consistent = self._gather_dump(kind)
            if consistent:
                return bodies
        raise KernelError(errno.EAGAIN, f"dump of message {kind}", detail="the table kept changing while it was read")

    def _gather_dump(self, kind: int) -> tuple[list[memoryview], bool]:
        bodies: list[memoryview] = []
        consistent = True
        for answer, flags, payload in self._receive({self._sequence}, dump=True):
            consistent = consistent and not flags & wire.NLM_F_DUMP_INTR
            if answer == wire.NLMSG_ERROR:
                number, detail = _refusal(payload, flags)
                if number:
                    raise KernelError(number, f"dump of message {kind}", detail=detail)
            elif answer == wire.NLMSG_DONE:
                number = -wire.S32.unpack_from(payload)[0] if len(payload) >= 4 else 0
                if number not in {0, errno.ENOENT}:  # ENOENT: a filter on a table that nobody uses
                    raise KernelError(number, f"dump of message {kind}")
            else:
                bodies.append(memoryview(bytes(payload)))
        return bodies, consistent

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as problem:
            raise KernelError(problem.errno or 0, "send to rtnetlink") from problem

    def _receive(self, waiting: set[int], *, dump: bool = False) -> Iterator[tuple[int, int, memoryview]]:
        """(type, flags, payload) of each answer to the sequence numbers in `waiting`, until every one has ended."""
        view = memoryview(self._buffer)
        while waiting:
            try:
                size = self._socket.recv_into(self._buffer)
            except OSError as problem:
                detail = "answers were lost" if problem.errno == errno.ENOBUFS else ""
                raise KernelError(problem.errno or 0, "receive from rtnetlink", detail=detail) from problem
            offset = 0
            while offset < size:
                length, kind, flags, sequence, _port = wire.HEADER.unpack_from(view, offset)
                if sequence in waiting:
                    if not dump or kind in {wire.NLMSG_DONE, wire.NLMSG_ERROR}:
                        waiting.discard(sequence)
                    yield kind, flags, view[offset + 16 : offset + length]
                offset += (length + 3) & ~3

    def _grow_buffers(self) -> None:
        for forced, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, forced, BUFFER)
            except PermissionError:  # reading needs no rights
                self._socket.setsockopt(socket.SOL_SOCKET, plain, BUFFER)


class _Batch:
    """One batch on its way: what is sent together, and which names it has looked up."""

    def __init__(
        self,
        exchange: Callable[[Sequence[Message]], list[tuple[int, str]]],
        find: Callable[[str], Link | None],
        requests: Sequence[Request],
    ) -> None:
        self._exchange = exchange
        self._find = find
        self._requests = requests
        self._pending: list[tuple[int, Message]] = []
        self._indexes: dict[str, int] = {}
        self._answers: list[KernelError | None] = [None] * len(requests)

    def run(self) -> list[KernelError | None]:
        for place, request in enumerate(self._requests):
            try:
                messages = messages_of(request, self._index_of)
            except KernelError as unknown:
                self._answers[place] = KernelError(unknown.number, str(request), index=place, detail=unknown.detail)
                continue
            self._pending += [(place, message) for message in messages]
            if _renames(request):
                self._flush()
                self._indexes.clear()
        self._flush()
        return self._answers

    def _index_of(self, name: str) -> int:
        """The link's index; what the batch makes before has to be in the kernel by now, hence the flush."""
        if name not in self._indexes:
            self._flush()
            link = self._find(name)
            if link is None:
                raise KernelError(errno.ENODEV, f"look up link {name}", detail=f"there is no link {name}")
            self._indexes[name] = link.index
        return self._indexes[name]

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        results = self._exchange([message for _, message in pending]) if pending else []
        for (place, _), (number, detail) in zip(pending, results, strict=True):
            if number and self._answers[place] is None:
                self._answers[place] = KernelError(number, str(self._requests[place]), index=place, detail=detail)


def _renames(request: Request) -> bool:
    """Whether names may mean other links afterwards."""
    match request:
        case DeleteGroup():
            return True
        case SetLink(rename=rename, ns=ns):
            return rename is not None or ns is not None
        case Add(thing=thing) | Delete(thing=thing):
            return isinstance(thing, Link)


def _refusal(payload: memoryview, flags: int) -> tuple[int, str]:
    """(errno or 0, the kernel's extended sentence) of an acknowledgement."""
    number = -wire.S32.unpack_from(payload)[0]
    if not flags & wire.NLM_F_ACK_TLVS:
        return number, ""
    request_length = 16 if flags & wire.NLM_F_CAPPED else wire.HEADER.unpack_from(payload, 4)[0]
    found = wire.attributes(payload, 4 + ((request_length + 3) & ~3))
    return number, wire.get_text(found, wire.NLMSGERR_ATTR_MSG)


def _with_masters(found: Sequence[Link]) -> list[Link]:
    """Put names where the dump has indexes of other links."""
    names = {str(link.index): link.name for link in found}
    return [links.with_names(link, names) for link in found]


def _timeval(seconds: int) -> bytes:
    return seconds.to_bytes(8, "little") + bytes(8)
