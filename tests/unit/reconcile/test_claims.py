from hypothesis import given
from hypothesis import strategies as st

from clew.reconcile import Claims

OWNERS = st.integers(0, 3)
MAPS = st.dictionaries(st.integers(0, 3), st.integers(0, 1))


def test_the_first_owner_holds_and_the_next_inherits() -> None:
    claims: Claims[str, str, int] = Claims()
    assert claims.claim("b", {"port": 1}) == {"port"}
    assert claims.claim("c", {"port": 2}) == set()
    assert claims.claim("a", {"port": 3}) == {"port"}
    assert claims.get("port") == ("a", 3)
    assert set(claims.claimants("port")) == {"a", "b", "c"}
    assert claims.claim("a", {}) == {"port"}
    assert claims.get("port") == ("b", 1)


@given(st.lists(st.tuples(OWNERS, MAPS)))
def test_history_leaves_no_trace(steps: list[tuple[int, dict[int, int]]]) -> None:
    claims: Claims[int, int, int] = Claims()
    held: dict[int, tuple[int, int]] = {}
    last: dict[int, dict[int, int]] = {}
    for owner, wanted in steps:
        changed = claims.claim(owner, wanted)
        last[owner] = wanted
        assert claims.contested == {key for key in range(4) if len(list(claims.claimants(key))) > 1}
        for key in range(4):
            now = claims.get(key)
            assert (now != held.get(key)) == (key in changed)
            if now is None:
                held.pop(key, None)
            else:
                held[key] = now
    fresh: Claims[int, int, int] = Claims()
    for owner in sorted(last, reverse=True):
        fresh.claim(owner, last[owner])
    assert {key: fresh.get(key) for key in range(4)} == {key: held.get(key) for key in range(4)}
