"""The socket and the framing that nftables, conntrack, ipset, IPVS, WireGuard and XFRM share; knows not what they say.

IPVS and WireGuard speak generic netlink, whose messages begin with four bytes as well: `family` is the command there.
XFRM's begin with structures of their own: `call` and `listing` take bodies as they are. Used by
kernel/{nft,conntrack,ipset,ipvs,wireguard,xfrm} only. Source: include/uapi/linux/netfilter/nfnetlink.h, genetlink.h.
"""

import errno
import socket
import struct
from collections.abc import Iterator

from clew.kernel import netns
from clew.kernel.errors import KernelError

ERROR, DONE = 2, 3
REQUEST, ACK, DUMP_INTERRUPTED, DUMP, CREATE = 1, 4, 0x10, 0x300, 0x400
SENTENCE, SENTENCE_TEXT = 0x200, 1  # NLM_F_ACK_TLVS, NLMSGERR_ATTR_MSG
NESTED = 0x8000

NETLINK_XFRM, NETLINK_NETFILTER, NETLINK_GENERIC = 6, 12, 16
CONTROLLER, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 16, 3, 1, 2  # GENL_ID_CTRL, CTRL_CMD_*, CTRL_ATTR_*
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
BUFFER = 64 << 20  # bytes; only what is in flight is ever allocated
PATIENCE = 30  # seconds for the kernel to answer
DUMPS = 20  # tries at a dump that other changes keep interrupting

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")


def attribute(kind: int, payload: bytes) -> bytes:
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length & 3)


def nested(kind: int, payload: bytes) -> bytes:
    return attribute(kind | NESTED, payload)


def head(length: int, kind: int) -> bytes:
    """The first four bytes of an attribute of `length` bytes, them included."""
    return _ATTRIBUTE.pack(length, kind)


def message(kind: int, flags: int, sequence: int, family: int, payload: bytes = b"", resource: int = 0) -> bytes:
    """One netlink message with its nfgenmsg; `resource` is the subsystem in the brackets of a batch."""
    return plain(kind, flags, sequence, _generic_head(family, resource) + payload)


def plain(kind: int, flags: int, sequence: int, body: bytes, port: int = 0) -> bytes:
    """One netlink message, its body as it is. `port`: the sender's, which XFRM repeats in the events that follow."""
    return _HEADER.pack(16 + len(body), kind, flags | REQUEST, sequence, port) + body


def _generic_head(family: int, resource: int = 0) -> bytes:
    return struct.pack("=BB", family, 0) + struct.pack(">H", resource)


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of the payload of each attribute between two offsets."""
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            return
        yield kind & 0x3FFF, start + 4, start + length
        start += (length + 3) & ~3


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Type, flags, sequence, start and end of the payload of each message in what a socket gave."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, flags, sequence, offset + 16, offset + length
        offset += (length + 3) & ~3


def sender(data: bytes) -> Iterator[tuple[int, int]]:
    """Of each event in what a listening socket gave its type, and the port that its cause was signed with; 0: none."""
    for kind, _, _, start, _ in messages(data):
        yield kind, int.from_bytes(data[start - 4 : start], "little")


def error_number(data: bytes, start: int) -> int:
    """The errno in an ERROR message; 0 in an acknowledgement."""
    return -int(_ERROR.unpack_from(data, start)[0])


def _sentence(data: bytes, start: int, end: int) -> str:
    """What the kernel says of a refusal; the request's header, which it repeats, comes before."""
    for kind, first, last in attributes(data, start + 20, end):
        if kind == SENTENCE_TEXT:
            return data[first:last].rstrip(b"\0").decode(errors="replace")
    return ""


Message = tuple[bytes, int, int, int, int, int]  # data, type, flags, sequence, start and end of the payload


class Channel:
    """One netlink socket. `ns`: where it works (path or descriptor); None: in the caller's namespace.

    Blocking, one caller at a time.
    """

    def __init__(self, ns: netns.Namespace | None = None, protocol: int = NETLINK_NETFILTER) -> None:
        def opened() -> socket.socket:
            return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)

        self._socket = opened() if ns is None else netns.run_in(ns, opened)
        for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            self._socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", PATIENCE, 0))
        self._socket.bind((0, 0))
        self.sequence = 1
        self.port: int = self._socket.getsockname()[0]  # by which XFRM's events name who asked

    def close(self) -> None:
        self._socket.close()

    def next_sequence(self) -> int:
        self.sequence = (self.sequence + 1) & 0x7FFFFFFF
        return self.sequence

    def send(self, data: bytes, what: str) -> None:
        """One sendmsg, whole: a batch may not be cut."""
        try:
            self._socket.send(data)
        except OSError as refused:
            raise KernelError(refused.errno or 0, what) from refused

    def receive(self, what: str) -> Iterator[Message]:
        """Messages as they come; the caller stops asking when it has its answer."""
        while True:
            try:
                data = self._socket.recv(1 << 20)
            except BlockingIOError as late:
                raise KernelError(errno.ETIMEDOUT, what, detail=f"no answer in {PATIENCE} s") from late
            except OSError as refused:  # ENOBUFS among them: answers were lost
                raise KernelError(refused.errno or 0, what) from refused
            for kind, flags, sequence, start, end in messages(data):
                yield data, kind, flags, sequence, start, end

    def ask(self, request: int, family: int, payload: bytes, what: str, flags: int = 0) -> bytes:
        """The attributes of what the kernel answers before it acknowledges, if anything. KernelError: refused."""
        return self.call(request, _generic_head(family) + payload, what, flags)[4:]

    def call(self, request: int, body: bytes, what: str, flags: int = 0) -> bytes:
        """`ask` with a body of any kind, and the whole body of the answer."""
        sequence = self.next_sequence()
        self.send(plain(request, flags | ACK, sequence, body, self.port), what)
        answer = b""
        for data, kind, flagged, of, start, end in self.receive(what):
            if of != sequence:
                continue
            if kind == ERROR:
                number = error_number(data, start)
                if number:
                    raise KernelError(number, what, detail=_sentence(data, start, end) if flagged & SENTENCE else "")
                break
            answer = data[start:end]
        return answer

    def generic(self, name: str) -> int:
        """The message type that the kernel gave to a family of generic netlink; 0 where it has none of this name."""
        try:
            answer = self.ask(CONTROLLER, GET_FAMILY, attribute(FAMILY_NAME, name.encode() + b"\0"), f"look for {name}")
        except KernelError as refused:
            if refused.number != errno.ENOENT:
                raise
            return 0
        found = {field: answer[start:end] for field, start, end in attributes(answer, 0, len(answer))}
        return int.from_bytes(found[FAMILY_ID], "little")

    def dump(self, request: int, family: int, payload: bytes, what: str) -> list[bytes]:
        """The attributes of each object in a dump, unread.

        KernelError: refused, or EINTR where the objects changed during each of `DUMPS` tries.
        """
        return [body[4:] for body in self.listing(request, _generic_head(family) + payload, what)]

    def listing(self, request: int, body: bytes, what: str) -> list[bytes]:
        """`dump` with a body of any kind, and the whole bodies of the answers."""
        for _ in range(DUMPS):
            bodies = self._listed(request, body, what)
            if bodies is not None:
                return bodies
        raise KernelError(errno.EINTR, what, detail=f"interrupted {DUMPS} times by other changes")

    def _listed(self, request: int, body: bytes, what: str) -> list[bytes] | None:
        """None: objects changed meanwhile, and what was read counts for nothing."""
        sequence = self.next_sequence()
        self.send(plain(request, DUMP, sequence, body), what)
        parts: list[bytes] = []
        interrupted = False
        for data, kind, flags, answers, start, end in self.receive(what):
            if answers != sequence:
                continue
            interrupted |= bool(flags & DUMP_INTERRUPTED)
            if kind == ERROR:
                number = error_number(data, start)
                if number == errno.EINTR:
                    return None
                raise KernelError(number, what)
            if kind == DONE:
                break
            parts.append(data[start:end])
        return None if interrupted else parts
