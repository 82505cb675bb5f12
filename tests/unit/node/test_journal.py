"""The journal: what was acknowledged is there, whatever ended the agent; no address twice, none leaked."""

import asyncio
import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clew.base.errors import UserError, WorldError
from clew.compile.ipam import ExhaustedError
from clew.facts.attachment import Attachment, PodRef
from clew.facts.node import Node
from clew.node.attachments import Attachments, TakenError
from clew.node.ipam.pod_cidr import PodCidrIpam
from clew.node.ipam.wish import Wish
from clew.node.journal import Journal, Record, State, decode_lines, encode_line

NODE = Node("one", pod_cidrs=("10.244.1.0/28", "fd00::/64"))  # 13 IPv4 addresses to give out


def attachment(number: int) -> Attachment:
    return Attachment(
        f"c{number}", "eth0", "clew", "/ns", (f"10.244.1.{number}/24",), 1500, PodRef("default", f"p{number}")
    )


def wish(number: int) -> Wish:
    return Wish(f"c{number}", "eth0", "clew", "/ns", 1500)


def ipam() -> PodCidrIpam:
    found = PodCidrIpam()
    found.layout([NODE], NODE, [])
    return found


async def test_what_was_appended_is_there_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "sub" / "log")
    await asyncio.gather(*(journal.append(Record("put", attachment(n))) for n in range(2, 50)))
    await journal.append(Record("drop", key=("c3", "eth0")))
    journal.close()
    again = Journal(tmp_path / "sub" / "log")
    assert set(again.state.attachments) == {(f"c{n}", "eth0") for n in range(2, 50) if n != 3}
    assert again.state.attachments["c7", "eth0"] == attachment(7)
    assert again.state.last == ("10.244.1.49",)
    again.close()


async def test_one_agent_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log")
    with pytest.raises(UserError, match="in use by another agent"):
        Journal(tmp_path / "log")
    journal.close()
    Journal(tmp_path / "log").close()


async def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log"
    journal = Journal(path)
    await journal.append(Record("put", attachment(2)))
    journal.close()
    whole = path.read_bytes()
    line = encode_line(Record("put", attachment(3)))
    for cut in range(len(line)):
        path.write_bytes(whole + line[:cut])
        journal = Journal(path)
        assert set(journal.state.attachments) == {("c2", "eth0")}
        await journal.append(Record("put", attachment(4)))
        journal.close()
        records, good = decode_lines(path.read_bytes())
        assert (len(records), good) == (2, path.stat().st_size)


async def test_damage_in_the_middle_is_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "log"
    journal = Journal(path)
    for number in (2, 3, 4):
        await journal.append(Record("put", attachment(number)))
    journal.close()
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        Journal(path)


def test_a_journal_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(UserError, match="log: Is a directory"):
        Journal(tmp_path / "log")


async def test_history_is_left_out_in_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    journal = Journal(path, slack=20)
    await journal.append(Record("put", attachment(2)))
    for number in range(100):
        await journal.append(Record("put", attachment(3 + number % 100)))
        await journal.append(Record("drop", key=(f"c{3 + number % 100}", "eth0")))
    assert len(decode_lines(path.read_bytes())[0]) <= 24
    with pytest.raises(UserError):
        Journal(path)
    journal.close()
    again = Journal(path)
    assert set(again.state.attachments) == {("c2", "eth0")}
    assert again.state.last == ("10.244.1.102",), "the round robin goes on where it was"
    again.close()


async def test_a_full_disk_is_told_and_leaves_the_log_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    journal = Journal(path)
    attachments = Attachments(journal, ipam())
    await attachments.reserve(wish(1))
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) < 50:
            raise OSError(28, "No space left on device")
        return write(fd, bytes(data[:40]))

    monkeypatch.setattr("clew.node.journal.os.write", full)
    with pytest.raises(WorldError, match="No space left"):
        await attachments.reserve(wish(2))
    monkeypatch.undo()
    assert attachments.get(wish(2).key) is None
    await attachments.reserve(wish(3))
    journal.close()
    assert set(Journal(path).state.attachments) == {wish(1).key, wish(3).key}


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 16)), max_size=40))
def test_the_shortest_log_says_the_same(steps: list[tuple[bool, int]]) -> None:
    records = [Record("put", attachment(n)) if put else Record("drop", key=attachment(n).key) for put, n in steps]
    state = State(records)
    again = State(state.records())
    assert (again.attachments, again.last) == (state.attachments, state.last)


class Model:
    """Random ADDs and DELs with the process killed in between, against a plain account of what was promised."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.random = path, Random(seed)
        self.promised: dict[int, tuple[str, ...]] = {}
        self.doubtful: set[int] = set()  # killed before the answer: either way is right
        self.journal = Journal(path, slack=30)
        self.attachments = Attachments(self.journal, ipam())

    async def step(self) -> None:
        number = self.random.randrange(18)
        match self.random.choice(["add", "add", "add", "del", "del", "kill"]):
            case "add":
                await self.add(number)
            case "del":
                await self.attachments.release(wish(number).key)
                self.promised.pop(number, None)
                self.doubtful.discard(number)
            case _:
                self.kill(number)
        self.check()

    async def add(self, number: int) -> None:
        try:
            made = await self.attachments.reserve(wish(number))
        except TakenError:
            assert number in self.promised or number in self.doubtful
        except ExhaustedError:
            assert len(list(self.attachments.attached())) == 13, "full before it is full"
        else:
            self.promised[number] = made.addresses

    def kill(self, number: int) -> None:
        """The process dies while it writes: part of a record, or all of it, is in the file, and nobody was answered."""
        record = Record("drop", key=wish(number).key)
        if number in self.promised:
            self.promised.pop(number)
            self.doubtful.add(number)
        line = encode_line(record)
        self.journal.close()
        with self.path.open("ab") as file:
            file.write(line[: self.random.randrange(len(line) + 1)])
        self.journal = Journal(self.path, slack=30)
        self.attachments = Attachments(self.journal, ipam())

    def check(self) -> None:
        held = {
            int(container[1:]): self.attachments.get((container, ifname))
            for container, ifname in self.attachments.attached()
        }
        assert self.promised.keys() <= held.keys() <= self.promised.keys() | self.doubtful, "lost, or leaked"
        for number, addresses in self.promised.items():
            found = held[number]
            assert found is not None
            assert found.addresses == addresses
        given = list(self.attachments.addresses())
        assert len(given) == len(set(given)), "an address twice"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_no_address_twice_and_none_leaked(tmp_path: Path, seed: int) -> None:
    async def run() -> None:
        model = Model(tmp_path / f"log{seed}", seed)
        for _ in range(120):
            await model.step()
        model.journal.close()

    asyncio.run(run())
