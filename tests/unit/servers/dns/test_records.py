"""Records as text: whatever stands in a zone file or a template is a record, or refused in words."""

import contextlib

import dns.rdata
import dns.rdataclass
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clew.servers.dns import records

WORDS = st.sampled_from([
    "@", "IN", "CH", "A", "AAAA", "MX", "TXT", "SOA", "NS", "SRV", "CNAME", "CAA", "TYPE65", "TYPE65536", "\\#", "4",
    "01020304", "192.0.2.1", "2001:db8::1", "www", "a..b", "é", '"q"', '"', "(", ")", ";c", "300", "1w", "9999999999",
    "99999999w", "-1", "x" * 70, ".", "example.org.", "",
])  # fmt: skip


@given(st.lists(WORDS, max_size=8).map(" ".join))
@example("www 9999999999 IN A 192.0.2.1")
@example("www IN TYPE65536 \\# 4 01020304")
@example("www IN TYPE65 \\#")
@example(f"www IN TXT {'x' * 70000}")
def test_no_line_is_our_fault(line: str) -> None:
    """A time to live, a type or a length that no message can carry ended the server."""
    with contextlib.suppress(ValueError):
        records.record(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("www 2147483648 A 192.0.2.1", "'2147483648' is longer than a time to live can be"),
        ("www A 192.0.2", "not a record: A 192.0.2: "),
        ("www MX 10", "not a record: MX 10: "),
        ("www TYPE65536 \\# 0", "'TYPE65536' is no record type"),
        ("www TYPE65 \\# 2 0a", "2 bytes were announced and 1 are there"),
    ],
)
def test_what_is_no_record_says_why(line: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is looked at
        records.record(line)
    assert said in str(refused.value)


def test_an_unknown_type_is_its_bytes() -> None:
    kind = dns.rdata.from_text("IN", "TYPE65280", "\\# 4 0a000001")
    assert records.data(65280, ["\\#", "4", "0a000001"], "") == kind.to_wire()
