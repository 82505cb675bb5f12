import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.reconcile.numbers import Numbers, NumbersExhaustedError

NAMES = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("of"), NAMES),
        st.tuples(st.just("release"), NAMES),
        st.tuples(st.just("adopt"), NAMES, st.integers(0, 12)),
    )
)


@given(STEPS)
def test_no_two_names_ever_share_a_number(steps: list[tuple[str, ...]]) -> None:
    numbers = Numbers(1, 10)
    held: dict[str, int] = {}
    for step, name, *more in steps:
        if step == "of":
            number = numbers.of(name)
            assert held.get(name, number) == number, "a name keeps its number"
            held[name] = number
        elif step == "release":
            numbers.release(name)
            held.pop(name, None)
        elif numbers.adopt(name, int(*more)):
            held[name] = int(*more)
        assert len(set(held.values())) == len(held)
        assert all(1 <= number < 10 for number in held.values())
        assert dict(numbers.names) == {number: name for name, number in held.items()}


def test_a_number_is_given_out_again_when_its_name_has_gone() -> None:
    numbers = Numbers(1, 3)
    assert (numbers.of("a"), numbers.of("b")) == (1, 2)
    with pytest.raises(NumbersExhaustedError):
        numbers.of("c")
    numbers.release("a")
    assert numbers.of("c") == 1


def test_adopted_numbers_are_not_given_to_others() -> None:
    numbers = Numbers(1, 100)
    assert numbers.adopt("old", 2)
    assert not numbers.adopt("other", 2)
    assert [numbers.of("a"), numbers.of("b"), numbers.of("old")] == [1, 3, 2]
