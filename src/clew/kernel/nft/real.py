"""nftables of the running kernel: libnftables for text, an nfnetlink socket for elements. The real half of the port.

Traps that are handled here: an acknowledgement asked of the batch's end is never sent by kernels before 6.10, so the
last message asks for it; a dump that the kernel marks as interrupted is begun again; a dump of a hash table that is
being resized skips elements without a word (seen: 968 of 10,000, right after they were added, and 2,279 of 3,000 twice
in a row where the resizing itself had to wait for a processor), so a dump counts when it has as many elements as the
kernel says (6.18) or has one size for a while; the send buffer must hold a whole batch, since a batch is one sendmsg.
"""

import contextlib
import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from clew.kernel import netns
from clew.kernel.errors import KernelError
from clew.kernel.nfnetlink import ACK, CREATE, ERROR, Channel, attribute, attributes, error_number, message
from clew.kernel.nft import wire
from clew.kernel.nft.libnftables import Context
from clew.kernel.nft.port import ElementChange, ElementSet, Family, NftError

T = TypeVar("T")

PAUSES = (0.0, 0.001, 0.002, 0.004, 0.008, *[0.016] * 30)  # seconds before a reading of a set
ALIKE = 4  # readings in a row of one size, where the kernel counts otherwise or not at all

ERROR_MESSAGE, ERROR_OFFSET = 1, 2  # NLMSGERR_ATTR_*


class KernelNft:
    """`ns`: the network namespace to work in (path or descriptor); None: the calling thread's own."""

    def __init__(self, ns: netns.Namespace | None = None) -> None:
        self._ns = ns
        self._lock = threading.Lock()
        self._context: Context | None = None
        self._channel = Channel(ns)

    def close(self) -> None:
        self._channel.close()
        if self._context is not None:
            self._context.close()

    def run(self, script: str) -> None:
        done, _, complaint = self._text(script)
        if not done:
            raise _refused(complaint, "run an nft script")

    def listing(self, family: Family, table: str) -> str | None:
        done, output, complaint = self._text(f"list table {family} {table}")
        if done:
            return output
        refused = _refused(complaint, f"list table {family} {table}")
        if refused.absent:
            return None
        raise refused

    def fingerprint(self, family: Family, table: str) -> bytes:
        with self._lock:
            return self._digest(family, table)

    def _digest(self, family: Family, table: str) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        empty = True
        name = table.encode() + b"\0"
        for request in wire.LASTING:
            try:
                parts = self._dump(request, family, attribute(wire.TABLE, name), f"read table {family} {table}")
            except NftError as refused:
                if refused.absent:
                    return b""
                raise
            for part in parts:
                kind, begin, finish = next(attributes(part, 0, len(part)))
                if kind == wire.TABLE and part[begin:finish] == name:  # chains of all tables come in one dump
                    empty = False
                    digest.update(wire.lasting(request, part, 0, len(part)))
        return b"" if empty else digest.digest()

    def change(self, changes: Sequence[ElementChange]) -> None:
        with self._lock:
            batch = _Batch(self._channel.sequence)
            for change in changes:
                for payload in wire.removals(change.target, change.remove):
                    batch.add(wire.DELETE_SET_ELEMENT, 0, change.target, payload)
            for change in changes:
                for payload in wire.additions(change.target, change.add):
                    batch.add(wire.NEW_SET_ELEMENT, CREATE, change.target, payload)
            if not batch.messages:
                return
            data = batch.finish()
            self._channel.sequence = batch.sequence
            with _as_nft_error():
                self._channel.send(data, "change elements")
            with _as_nft_error():
                self._answers(batch)

    def elements(self, target: ElementSet) -> dict[bytes, bytes]:
        what = f"read {target}"
        size, alike = -1, 0
        for pause in PAUSES:
            time.sleep(pause)  # noqa: TID251 - the kernel tells nobody when it is done
            with self._lock:
                dump = self._dump(wire.GET_SET_ELEMENT, target.family, wire.of_set(target), what)
                count = self._count(target, what)
            found = dict(element for part in dump for element in wire.read_elements(target, part, 0, len(part)))
            alike = alike + 1 if size == sum(map(len, dump)) else 1
            if len(found) == count or alike == ALIKE:
                return found
            size = sum(map(len, dump))
        raise NftError(errno.EINTR, what, detail=f"changed during {len(PAUSES)} readings")

    def _count(self, target: ElementSet, what: str) -> int | None:
        """How many elements the kernel says that a set has; None before Linux 6.18."""
        table = attribute(wire.TABLE, target.table.encode() + b"\0")
        return wire.count(target, self._dump(wire.GET_SET, target.family, table, what))

    def generation(self) -> int:
        with self._lock:
            return self._generation()

    def _generation(self) -> int:
        what = "ask for the generation"
        sequence = self._channel.next_sequence()
        with _as_nft_error():
            self._channel.send(message(wire.GET_GENERATION, 0, sequence, 0), what)
            for data, kind, _, answers, start, end in self._channel.receive(what):
                if answers != sequence:
                    continue
                if kind == ERROR:
                    raise NftError(error_number(data, start), what)
                for field, begin, _ in attributes(data, start + 4, end):
                    if field == 1:
                        return int.from_bytes(data[begin : begin + 4], "big")
        raise NftError(errno.EPROTO, what, detail="the answer has none")

    def _inside(self, fn: Callable[[], T]) -> T:
        return fn() if self._ns is None else netns.run_in(self._ns, fn)

    def _text(self, script: str) -> tuple[bool, str, str]:
        def run() -> tuple[bool, str, str]:
            if self._context is None:
                self._context = Context()
            return self._context.run(script)

        return self._inside(run)

    def _answers(self, batch: "_Batch") -> None:
        """Wait for the last message's acknowledgement; the first refusal of the batch is raised."""
        refusal: NftError | None = None
        for data, kind, _, sequence, start, end in self._channel.receive("change elements"):
            if kind != ERROR or not batch.first <= sequence <= batch.sequence:
                continue
            number = error_number(data, start)
            if number and refusal is None:
                refusal = batch.explain(sequence, number, *_extended(data, start, end))
            if sequence == batch.last or (number and sequence == batch.first):
                break
        if refusal is not None:
            raise refusal

    def _dump(self, request: int, family: Family, names: bytes, what: str) -> list[bytes]:
        with _as_nft_error():
            return self._channel.dump(request, wire.FAMILIES[family], names, what)


@contextlib.contextmanager
def _as_nft_error() -> Iterator[None]:
    """The channel's errors in this port's class."""
    try:
        yield
    except NftError:
        raise
    except KernelError as refused:
        raise NftError(refused.number, refused.what, detail=refused.detail) from refused


class _Batch:
    """Messages between a batch's brackets, with what is needed to say which of them was refused."""

    def __init__(self, sequence: int) -> None:
        self.first = sequence + 1
        self.sequence = self.first
        self.messages: list[tuple[int, int, ElementSet, bytes]] = []

    def add(self, kind: int, flags: int, target: ElementSet, payload: bytes) -> None:
        self.messages.append((kind, flags, target, payload))

    @property
    def last(self) -> int:
        """The sequence of the message whose acknowledgement ends the wait."""
        return self.first + len(self.messages)

    def finish(self) -> bytes:
        parts = [message(wire.BATCH_BEGIN, 0, self.first, 0, resource=10)]
        for kind, flags, target, payload in self.messages:
            self.sequence += 1
            ack = ACK if self.sequence == self.last else 0
            parts.append(message(kind, flags | ack, self.sequence, wire.FAMILIES[target.family], payload))
        self.sequence += 1
        parts.append(message(wire.BATCH_END, 0, self.sequence, 0, resource=10))
        return b"".join(parts)

    def explain(self, sequence: int, number: int, text: str, offset: int) -> NftError:
        index = sequence - self.first - 1
        if not 0 <= index < len(self.messages):
            return NftError(number, "commit the change of elements", detail=text)
        kind, _, target, payload = self.messages[index]
        verb = "remove an element from" if kind == wire.DELETE_SET_ELEMENT else "add an element to"
        key = payload[offset - 20 + 12 :][: target.key_length] if offset >= 20 else b""
        shown = f" (key {key.hex(' ', 4)})" if key else ""
        return NftError(number, f"{verb} {target}{shown}", index=index, detail=text, key=key)


def _extended(data: bytes, start: int, end: int) -> tuple[str, int]:
    """The kernel's own words and the offset of the attribute it dislikes, from an error message."""
    text, offset = "", 0
    for kind, begin, finish in attributes(data, start + 20, end):
        if kind == ERROR_MESSAGE:
            text = data[begin:finish].rstrip(b"\0").decode(errors="replace")
        elif kind == ERROR_OFFSET:
            offset = int.from_bytes(data[begin : begin + 4], "little")
    return text, offset


def _refused(complaint: str, what: str) -> NftError:
    """The complaint of nft as an error: its first sentence, the place in the script, and the errno it speaks of."""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    sentence = next((line for line in lines if "Error:" in line), lines[0] if lines else "no reason given")
    detail = sentence.partition("Error: ")[2] or sentence
    place = next((line for line in lines[lines.index(sentence) + 1 :] if set(line) - set("^~ ")), "") if lines else ""
    codes = (errno.ENOENT, errno.EEXIST, errno.EBUSY, errno.EPERM, errno.EOPNOTSUPP, errno.ENOBUFS, errno.EINTR)
    number = next((code for code in codes if os.strerror(code) in complaint), errno.EINVAL)
    return NftError(number, what, detail=f"{detail} in: {place}" if place else detail)
