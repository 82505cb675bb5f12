"""The Secret's lines and the Node's annotation: read as they are written, refused by field."""

import base64

import pytest

from clew.facts import ipsec, node
from clew.facts.ipsec import Key, KeyRing, Standing

HEX = bytes(range(20)).hex()


def ring(text: str | None) -> KeyRing:
    data = {} if text is None else {"keys": base64.b64encode(text.encode()).decode()}
    return ipsec.from_api({"metadata": {"namespace": "kube-system", "name": "clew-ipsec-keys"}, "data": data})


def test_keys_come_in_the_order_of_their_lines() -> None:
    found = ring(f"15 rfc4106(gcm(aes)) {HEX} 128\n\n1+ rfc4106(gcm(aes)) 0x{'ab' * 36} 128\n")
    assert found == KeyRing((Key(15, bytes(range(20))), Key(1, b"\xab" * 36)))


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        (None, "data.keys", "it is not there"),
        ("\n", "data.keys", "it holds no key"),
        (f"3 rfc4106(gcm(aes)) {HEX}", "data.keys, line 1, all of it", "it has 3 words"),
        (f"0 rfc4106(gcm(aes)) {HEX} 128", "data.keys, line 1, ID", "1 to 15"),
        (f"16 rfc4106(gcm(aes)) {HEX} 128", "data.keys, line 1, ID", "1 to 15"),
        (f"x rfc4106(gcm(aes)) {HEX} 128", "data.keys, line 1, ID", "1 to 15"),
        (f"3 cbc(aes) {HEX} 128", "data.keys, line 1, ALGO", "'cbc(aes)' is not known"),
        ("3 rfc4106(gcm(aes)) 00zz 128", "data.keys, line 1, KEY", "not hexadecimal"),
        ("3 rfc4106(gcm(aes)) 0011 128", "data.keys, line 1, KEY", "it has 2 bytes"),
        (f"3 rfc4106(gcm(aes)) {HEX} 96", "data.keys, line 1, SIZE", "'96' is not known"),
    ],
)
def test_what_is_malformed_is_named_by_field(text: str | None, field: str, message: str) -> None:
    (problem,) = ring(text).problems
    assert (problem.origin, problem.field) == ("Secret kube-system/clew-ipsec-keys", field)
    assert message in problem.message
    assert HEX not in str(problem)
    assert ring(text).keys == ()


def test_a_wrong_line_takes_no_other_with_it_and_an_id_is_there_once() -> None:
    line = f"3 rfc4106(gcm(aes)) {HEX} 128"
    found = ring(f"{line}\nnonsense\n{line}\n4 rfc4106(gcm(aes)) {HEX} 128")
    assert [key.number for key in found.keys] == [3, 4]
    assert [problem.field for problem in found.problems] == ["data.keys, line 2, all of it", "data.keys, line 3, ID"]


def test_data_that_is_no_base64_is_a_problem_and_no_crash() -> None:
    (problem,) = ipsec.from_api({"metadata": {"namespace": "x", "name": "y"}, "data": {"keys": "%%"}}).problems
    assert problem.message == "it is not base64 of plain text"


def test_a_key_shows_its_name_and_never_itself() -> None:
    key = Key(3, bytes(range(20)))
    assert repr(key) == str(key) == f"Key({key.token})"
    assert HEX not in repr(KeyRing((key,)))
    assert key.token != Key(3, bytes(20)).token


@pytest.mark.parametrize("standing", [Standing("0" * 32), Standing("0f" * 16, ("3:" + "a" * 16, "15:" + "0" * 16))])
def test_a_standing_is_read_as_it_was_written(standing: Standing) -> None:
    made = node.from_api({"metadata": {"name": "one", "annotations": {"clew.dev/ipsec": str(standing)}}})
    assert made.ipsec == standing


@pytest.mark.parametrize("text", ["", "x", "0" * 31, "0" * 32 + " 3", "0" * 32 + "  3:" + "a" * 16, "0" * 33])
def test_what_no_agent_wrote_is_no_standing(text: str) -> None:
    assert ipsec.standing(text) is None
