from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.cluster.runtime.supervisor.wire import HEADER, LARGEST, STDIN, STDOUT, Frames, frame, message, words


@given(
    st.lists(st.tuples(st.sampled_from([STDIN, STDOUT]), st.binary(max_size=60)), max_size=8),
    st.lists(st.integers(0, 600), max_size=8),
)
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(
    sent: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    data = b"".join(frame(kind, payload) for kind, payload in sent)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    frames = Frames()
    found = [each for begin, end in pairwise(edges) for each in frames.feed(data[begin:end])]
    assert [(each.type, each.payload) for each in found] == sent


def test_a_message_is_json() -> None:
    (found,) = Frames().feed(message({"op": "list", "text": "ä"}))
    assert found.message == {"op": "list", "text": "ä"}


def test_a_frame_that_is_too_long_is_refused_at_its_header() -> None:
    with pytest.raises(ValueError, match="bytes"):
        Frames().feed(HEADER.pack(STDIN, LARGEST + 1))


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (OSError(2, "No such file or directory", "/x"), "/x: No such file or directory"),
        (OSError(16, "container c is running"), "container c is running"),
        (KeyError("argv"), "missing in the request: 'argv'"),
        (ValueError("odd"), "odd"),
    ],
)  # fmt: skip
def test_problems_in_words(problem: Exception, said: str) -> None:
    assert words(problem) == said
