"""Whom the userspace proxy dials: in turn, sticky where asked, and never somebody who has gone."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from clew.dataplane.userspace.choice import Choice
from clew.dataplane.userspace.objects import Way

A, B, C = (("10.0.0.1", 80), ("10.0.0.2", 80), ("10.0.0.3", 80))


def unshuffled(_order: list[tuple[str, int]]) -> None:
    """As they come."""


def first(choice: Choice, client: str = "c", now: float = 0.0, policy: str = "Cluster") -> tuple[str, int]:
    at = choice.candidates(policy, client, now)[0]
    choice.chosen(client, at, now)
    return at


def test_in_turn() -> None:
    choice = Choice(unshuffled)
    choice.learn("Cluster", Way((A, B, C)))
    assert [first(choice) for _ in range(6)] == [A, B, C, A, B, C]


def test_everybody_is_a_candidate_once_beginning_with_the_one_whose_turn_it_is() -> None:
    choice = Choice(unshuffled)
    choice.learn("Cluster", Way((A, B, C)))
    first(choice)
    assert list(choice.candidates("Cluster", "c", 0.0)) == [B, C, A]


def test_the_same_backends_again_do_not_begin_anew() -> None:
    choice = Choice(unshuffled)
    choice.learn("Cluster", Way((A, B)))
    first(choice)
    choice.learn("Cluster", Way((B, A), others=(C,)))
    assert first(choice) == B


def test_a_sticky_client_keeps_its_backend_and_each_connection_counts_anew() -> None:
    choice = Choice(unshuffled)
    choice.learn("Cluster", Way((A, B), affinity=60))
    assert [first(choice, "one", now) for now in (0.0, 50.0, 100.0)] == [A, A, A]
    assert first(choice, "two", 100.0) == B
    assert first(choice, "one", 161.0) != first(choice, "three", 161.0), "forgotten: its turn like anybody's"


def test_a_client_moves_when_its_backend_does_not_answer_or_goes() -> None:
    choice = Choice(unshuffled)
    choice.learn("Cluster", Way((A, B), affinity=60))
    assert first(choice, "one") == A
    choice.chosen("one", B, 1.0)  # A did not answer
    assert first(choice, "one", 2.0) == B
    choice.learn("Cluster", Way((A, C), affinity=60))
    assert first(choice, "one", 3.0) in {A, C}


def test_the_choice_holds_for_every_policy_that_has_the_backend() -> None:
    choice = Choice(unshuffled)
    choice.learn("Cluster", Way((A, B), affinity=60))
    choice.learn("Local", Way((B,), affinity=60))
    assert first(choice, "one", policy="Local") == B
    assert first(choice, "one") == B


def test_quiet_clients_are_forgotten_by_and_by() -> None:
    choice = Choice(unshuffled)
    choice.learn("Cluster", Way((A,), affinity=10))
    for number in range(2000):
        first(choice, f"client {number}", number / 10)
    assert len(choice._kept) <= 1100


def test_nobody_is_nobody() -> None:
    choice = Choice(unshuffled)
    assert choice.candidates("Cluster", "c", 0.0) == ()
    choice.learn("Cluster", Way((A,)))
    choice.forget("Cluster")
    assert not choice
    assert choice.candidates("Cluster", "c", 0.0) == ()


@given(st.integers(1, 9), st.integers(1, 5))
def test_turns_are_even(backends: int, rounds: int) -> None:
    choice = Choice(unshuffled)
    everyone = tuple((f"10.0.0.{number}", 80) for number in range(backends))
    choice.learn("Cluster", Way(everyone))
    assert Counter(first(choice) for _ in range(backends * rounds)) == dict.fromkeys(everyone, rounds)
