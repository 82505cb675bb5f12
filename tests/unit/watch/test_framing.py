"""Bodies of HTTP/1.1, however the network cuts them up."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.watch.framing import Chunked, MalformedError, Sized, UntilClosed, body_of


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(marks)]


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.lists(st.integers(0, 5000), max_size=12))
def test_chunks_come_out_whole(chunks: list[bytes], places: list[int]) -> None:
    sizes = ["%x", "%X;name=value", "0%x", "%x;q"]
    lines = [(sizes[n % 4] % len(chunk)).encode() + b"\r\n" + chunk + b"\r\n" for n, chunk in enumerate(chunks)]
    body = Chunked()
    pieces = cut(b"".join(lines) + b"0\r\nTrailer: x\r\n\r\n", places)
    assert b"".join(body.feed(piece) for piece in pieces[:-1]) + body.feed(pieces[-1]) == b"".join(chunks)
    assert body.done


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_a_length_is_kept_to(data: bytes, places: list[int]) -> None:
    body = Sized(len(data))
    assert b"".join(body.feed(piece) for piece in cut(data, places)) == data
    assert body.done


@pytest.mark.parametrize(
    "data",
    [b"x\r\n", b"-1\r\n", b"\r\n", b"3\r\nabcd\r\n", b"0\r\n\r\nmore", b"1" * 5000, b"1;" + b"x" * 5000, b"3\r\nabc!!"],
)
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    body = Chunked()
    with pytest.raises(MalformedError):
        b"".join(map(body.feed, (data, b"\r\n")))


def test_a_body_longer_than_announced_is_refused() -> None:
    with pytest.raises(MalformedError):
        Sized(3).feed(b"abcd")


@pytest.mark.parametrize("length", ["x", "-1", "1e3", ""])
def test_a_length_is_a_number(length: str) -> None:
    with pytest.raises(MalformedError):
        body_of(200, {"content-length": length})


@pytest.mark.parametrize(
    ("status", "headers", "kind", "kept"),
    [
        (204, {}, Sized, True),
        (200, {"content-length": "7"}, Sized, True),
        (200, {"transfer-encoding": "Chunked", "content-length": "7"}, Chunked, True),
        (200, {}, UntilClosed, False),
    ],
)
def test_how_a_body_ends(status: int, headers: dict[str, str], kind: type, *, kept: bool) -> None:
    body = body_of(status, headers)
    assert (type(body), body.kept) == (kind, kept)
