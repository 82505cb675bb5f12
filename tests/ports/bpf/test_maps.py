"""The suite of a BPF map: the kernel's and its stand-in answer alike."""

import errno
from collections.abc import Callable, Iterator

import pytest

from clew.kernel import bpf
from clew.kernel.errors import KernelError

HASH, ARRAY, LRU_HASH, LPM_TRIE = 1, 2, 9, 11
Make = Callable[[bpf.MapSpec], bpf.Map]


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[bpf.Map] = []

    def create(spec: bpf.MapSpec) -> bpf.Map:
        made.append(bpf.FakeMap(spec) if request.param == "fake" else bpf.KernelMap.create(spec))
        return made[-1]

    yield create
    for each in made:
        each.close()


def numbers(first: int, last: int) -> list[tuple[bytes, bytes]]:
    return [(number.to_bytes(4, "big"), number.to_bytes(8, "big")) for number in range(first, last)]


def a_hash(entries: int = 10_000) -> bpf.MapSpec:
    return bpf.MapSpec("things", HASH, 4, 8, entries)


def test_an_entry_is_put_changed_and_forgotten(make: Make) -> None:
    table = make(a_hash())
    assert table.lookup(b"key1") is None
    table.update(b"key1", b"12345678")
    table.update(b"key1", b"abcdefgh")
    assert table.lookup(b"key1") == b"abcdefgh"
    assert table.delete(b"key1")
    assert not table.delete(b"key1")
    assert list(table.items()) == []


def test_many_go_in_and_out_in_batches(make: Make) -> None:
    table = make(a_hash())
    table.update_all(numbers(0, 9_000))
    assert sorted(table.items()) == numbers(0, 9_000)
    strangers = [key for key, _ in numbers(9_500, 9_600)]
    table.delete_all([*strangers, *(key for key, _ in numbers(0, 8_000)), *strangers])
    assert sorted(table.items()) == numbers(8_000, 9_000)
    table.update_all([])
    table.delete_all([])


def test_a_full_map_says_so_and_keeps_what_was_in_time(make: Make) -> None:
    table = make(a_hash(entries=100))
    with pytest.raises(KernelError) as refused:
        table.update_all(numbers(0, 200))
    assert refused.value.number == errno.E2BIG
    assert sorted(table.items()) == numbers(0, 100)
    table.update(*numbers(5, 6)[0])  # one that is in may change


def test_an_array_has_all_its_entries_from_the_start(make: Make) -> None:
    table = make(bpf.MapSpec("counts", ARRAY, 4, 8, 3))
    table.update((1).to_bytes(4, "little"), b"12345678")
    assert [value for _, value in sorted(table.items())] == [bytes(8), b"12345678", bytes(8)]
    with pytest.raises(KernelError):
        table.delete((1).to_bytes(4, "little"))


def test_a_map_that_forgets_takes_more_than_it_holds(make: Make) -> None:
    table = make(bpf.MapSpec("flows", LRU_HASH, 4, 8, 1_000))
    table.update_all(numbers(0, 5_000))
    assert 0 < len(list(table.items())) <= 1_000


def test_keys_and_values_of_another_size_are_our_own_mistake(make: Make) -> None:
    table = make(a_hash())
    with pytest.raises(ValueError, match="3 bytes where 4 belong"):
        table.lookup(b"key")
    with pytest.raises(ValueError, match="1 bytes where 8 belong"):
        table.update(b"key1", b"v")


@pytest.mark.root
def test_a_trie_of_prefixes_knows_no_batches_and_is_read_all_the_same() -> None:
    table = bpf.KernelMap.create(bpf.MapSpec("ranges", LPM_TRIE, 8, 4, 100, flags=1))
    entries = [((24).to_bytes(4, "little") + bytes([10, 0, number, 0]), b"okay") for number in range(50)]
    table.update_all(entries)
    assert sorted(table.items()) == sorted(entries)
    assert table.lookup((32).to_bytes(4, "little") + bytes([10, 0, 7, 9])) == b"okay"
    table.delete_all([key for key, _ in entries])
    assert list(table.items()) == []
    table.close()
