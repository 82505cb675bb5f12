"""BIRD's file: the same text for the same wishes, a session a neighbour and family, only pods believed."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from clew.base.clock import SystemClock
from clew.dataplane.bird import control, homes, render
from clew.dataplane.bird.apply import BirdPlane
from clew.dataplane.bird.explain import explain
from clew.dataplane.bird.homes import OwnBird, SharedBird
from clew.ir.routing import Neighbour, Speaker
from clew.kernel.errors import KernelError

SPEAKER = Speaker(
    "bgp", "172.30.0.11", 64512, ("10.244.1.0/24", "fd00:1::/64"), ("10.244.0.0/16", "fd00::/48"),
    ("172.30.0.11", "fd00:172::11"), ("eth0",),
    (Neighbour("two.example", "172.30.0.12", 64512), Neighbour("two.example", "fd00:172::12", 64512)), "Node one",
)  # fmt: skip


def protocols(text: str) -> list[str]:
    return [line.partition(" {")[0] for line in text.splitlines() if line.startswith(("protocol", "template"))]


def test_a_session_a_neighbour_and_family() -> None:
    text = render.configuration(SPEAKER)
    assert protocols(text) == [
        "protocol device",
        "protocol static own4", "protocol direct links4", "template bgp peer4", "protocol kernel kernel4",
        "protocol static own6", "protocol direct links6", "template bgp peer6", "protocol kernel kernel6",
        "protocol bgp 'bgp4:two.example' from peer4", "protocol bgp 'bgp6:two.example' from peer6",
    ]  # fmt: skip
    assert "filter taken4 { if !(net ~ [ 10.244.0.0/16+ ]) then reject; accept; }" in text
    assert "route 10.244.1.0/24 unreachable;" in text
    assert "persist; graceful restart;" in text
    assert "\ngraceful restart wait 10;\n" in text
    assert text == render.configuration(SPEAKER)


def test_what_paths_take_is_told_with_the_routes() -> None:
    text = render.configuration(replace(SPEAKER, narrow={"fd00:2::/64": 1400, "10.244.2.0/24": 1390}))
    assert " if net ~ [ 10.244.2.0/24+ ] then { krt_mtu = 1390; krt_lock_mtu = true; } accept; }" in text
    assert text.count("krt_mtu = ") == 2, "each in the filter of its family"


def test_one_family_only() -> None:
    text = render.configuration(replace(SPEAKER, announced=("10.244.1.0/24",)))
    assert "ipv6" not in text
    assert "fd00" not in text


def test_names_of_nodes_are_longer_than_birds() -> None:
    """BIRD has 64 letters; one node of a longer name, and no node of the cluster had a router any more."""
    names = ["n" * 59, "n" * 60, "n" * 200 + "1", "n" * 200 + "2"]
    neighbours = tuple(Neighbour(name, f"172.30.0.{20 + at}", 64512) for at, name in enumerate(names))
    lines = protocols(render.configuration(replace(SPEAKER, neighbours=neighbours)))[-4:]
    symbols = [line.split("'")[1] for line in lines]
    assert symbols[0] == "bgp4:" + names[0]
    assert [len(each) for each in symbols] == [64, 64, 64, 64]
    assert len(set(symbols)) == len(symbols)


def test_clients_peers_and_passwords() -> None:
    neighbours = (
        Neighbour("c", "172.30.0.13", 64512, client=True),
        Neighbour("172.30.0.1", "172.30.0.1", 65000, password="se cret"),
    )
    client, peer = render.configuration(replace(SPEAKER, neighbours=neighbours)).splitlines()[-2:]
    assert "rr client; ipv4 { igp table near4; import filter taken4; export filter taken4; };" in client
    assert peer == (
        "protocol bgp 'bgp4:172.30.0.1' from peer4 { neighbor 172.30.0.1 as 65000; allow local as 1;"
        ' password "se cret"; }'
    )


def test_ospf_on_the_links_between_nodes() -> None:
    text = render.configuration(replace(SPEAKER, protocol="ospf", neighbours=()))
    assert protocols(text)[-2:] == ["protocol ospf v2 ospf4", "protocol ospf v3 ospf6"]
    assert 'interface "eth0" { type broadcast; hello 1; dead count 4; wait 2; };' in text


@contextmanager
def bird(path: Path, *answers: str) -> Iterator[list[str]]:
    """Something that answers as BIRD does, one connection an answer; what it was asked."""
    asked: list[str] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for answer in answers:
                peer, _ = listener.accept()
                with peer, peer.makefile("rwb") as stream:
                    stream.write(b"0001 BIRD 2.0.12 ready.\n")
                    stream.flush()
                    asked.append(stream.readline().decode().strip())
                    stream.write(answer.encode())
                    stream.flush()

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(10)


def test_an_answer_of_many_lines(tmp_path: Path) -> None:
    with bird(tmp_path / "ctl", "1002-one\n two\n1002-three\n0000 \n", "9001 syntax error\n") as asked:
        assert control.ask(tmp_path / "ctl", "show protocols") == control.Answer(0, "one\ntwo\nthree")
        answer = control.ask(tmp_path / "ctl", "nonsense")
        assert answer is not None
        assert answer.refused
    assert asked == ["show protocols", "nonsense"]


def test_nobody_answers(tmp_path: Path) -> None:
    assert control.ask(tmp_path / "ctl", "show status") is None
    with bird(tmp_path / "ctl", "1000-cut off\n"):
        assert control.ask(tmp_path / "ctl", "show status") is None


def test_one_that_runs_is_told_and_not_started(tmp_path: Path) -> None:
    plane = BirdPlane(OwnBird(tmp_path, "no-such-program"))
    plane.want(SPEAKER)
    assert plane.pending
    with bird(tmp_path / "bird.ctl", "0002-Reading configuration\n0003 Reconfigured\n") as asked:
        plane.sync()
    assert asked == [f'configure "{tmp_path / "bird.conf"}"']
    assert not plane.pending
    assert (tmp_path / "bird.conf").stat().st_mode & 0o777 == 0o600, "it may hold passwords"


def test_a_refused_file_keeps_the_difference(tmp_path: Path) -> None:
    plane = BirdPlane(OwnBird(tmp_path))
    plane.want(SPEAKER)
    with bird(tmp_path / "bird.ctl", "8002 bird.conf:3:1 syntax error\n"), pytest.raises(KernelError, match="syntax"):
        plane.sync()
    assert plane.pending


def test_without_the_program_the_remedy_is_told(tmp_path: Path) -> None:
    plane = BirdPlane(OwnBird(tmp_path, "no-such-program"))
    plane.want(SPEAKER)
    with pytest.raises(KernelError, match="install BIRD 2"):
        plane.sync()
    assert plane.pending


class Hasty(SystemClock):
    async def sleep(self, seconds: float) -> None:
        del seconds
        await asyncio.sleep(0)


async def test_one_that_ends_before_anybody_listens_to_it_is_missed(tmp_path: Path) -> None:
    """Killed in the first second after it was begun, it was begun anew half a minute later."""
    wanted, missed = asyncio.Event(), asyncio.Event()
    wanted.set()
    watching = asyncio.ensure_future(control.until_it_ends(tmp_path / "ctl", wanted, missed.set, Hasty()))
    try:
        async with asyncio.timeout(30):
            await missed.wait()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def test_one_that_neither_answers_nor_ends_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent ended of it, on a machine that was busy for longer than five seconds."""
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\ntrap '' TERM\nwhile true; do sleep 0.05; done\n")
    program.chmod(0o755)
    monkeypatch.setattr(homes, "STARTING", 0.5)
    monkeypatch.setattr(homes, "ENDING", 0.1)
    home = OwnBird(tmp_path / "bird", str(program))
    processes = []
    try:
        for _ in range(2):
            with pytest.raises(KernelError, match="its socket does not answer"):
                home.put(SPEAKER)
            processes.append(home._process)
    finally:
        home._reap()
    assert [each.returncode is not None for each in processes if each is not None] == [True, True]


def test_where_no_routes_were_left_none_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that started anew had its neighbours' routes ten seconds later than it heard them: one of them was off."""
    program = tmp_path / "tells"
    program.write_text('#!/bin/sh\necho "$*" >&2\nexit 1\n')
    program.chmod(0o755)
    for left, option in ((False, False), (True, True)):
        monkeypatch.setattr(homes, "_former_routes", lambda left=left: left)
        with pytest.raises(KernelError) as told:
            OwnBird(tmp_path / "bird", str(program)).put(SPEAKER)
        assert (" -R" in str(told.value)) == option, told.value


def test_who_never_had_a_router_is_left_alone(tmp_path: Path) -> None:
    plane = BirdPlane(OwnBird(tmp_path / "bird", "no-such-program"))
    plane.want(None)
    plane.sync()
    assert not plane.pending
    assert not (tmp_path / "bird").exists()


def test_a_file_that_somebody_elses_includes_has_names_of_its_own() -> None:
    text = render.included(SPEAKER, frozenset({6}))
    names = [line.split()[3 if line.startswith("protocol ospf") else 2] for line in protocols(text)]
    assert all(name.strip("'").startswith("clew_") for name in names)
    assert "protocol kernel clew_kernel4" in text
    assert "clew_kernel6" not in text, "one a kernel table, and there is one already"
    assert "router id" not in text
    assert "protocol device" not in text
    assert 'export where proto = "clew_own4";' in text, "not what its owner has in static protocols"


def test_what_tunnels_lead_to_does_not_go_into_the_kernel() -> None:
    text = render.configuration(replace(SPEAKER, elsewhere=("10.244.3.0/24",)))
    four, six = (line for line in text.splitlines() if line.startswith("protocol kernel"))
    assert "!(net ~ [ 10.244.3.0/24+ ])" in four
    assert "!(net" not in six


NAMES = "2002-Name       Proto      Table      State  Since         Info\n"
FOREIGN = "1002-kernel1    Kernel     master4    up     12:00:00.000\n"
OURS = "1002-clew_own4  Static     master4    up     12:00:00.000\n"


def test_somebody_elses_is_told_by_a_file_that_it_includes(tmp_path: Path) -> None:
    plane = BirdPlane(SharedBird(tmp_path / "ctl", tmp_path / "clew.conf"))
    plane.want(SPEAKER)
    table = f"{NAMES}{FOREIGN}{OURS}0000 \n"
    with bird(tmp_path / "ctl", table, "0020 Configuration OK\n", "0003 Reconfigured\n", table) as asked:
        plane.sync()
    assert asked == ["show protocols", "configure check", "configure", "show protocols"]
    assert "clew_own4" in (tmp_path / "clew.conf").read_text()
    assert not plane.pending


def test_a_file_that_it_refuses_does_not_stay(tmp_path: Path) -> None:
    """It would not start with it any more."""
    (tmp_path / "clew.conf").write_text("# before\n")
    plane = BirdPlane(SharedBird(tmp_path / "ctl", tmp_path / "clew.conf"))
    plane.want(SPEAKER)
    answers = f"{NAMES}{FOREIGN}0000 \n", "8002 clew.conf:3:1 syntax error\n"
    with bird(tmp_path / "ctl", *answers), pytest.raises(KernelError, match="syntax error"):
        plane.sync()
    assert (tmp_path / "clew.conf").read_text() == "# before\n"
    assert plane.pending


def test_one_that_does_not_read_our_file_or_is_not_there_is_told_so(tmp_path: Path) -> None:
    plane = BirdPlane(SharedBird(tmp_path / "ctl", tmp_path / "clew.conf"))
    plane.want(SPEAKER)
    with pytest.raises(KernelError, match="no BIRD answers at"):
        plane.sync()
    table = f"{NAMES}{FOREIGN}0000 \n"
    with (
        bird(tmp_path / "ctl", table, "0020 Configuration OK\n", "0003 Reconfigured\n", table),
        pytest.raises(KernelError, match='add the line include "'),
    ):
        plane.sync()


def test_an_explanation_names_the_neighbour() -> None:
    assert explain(SPEAKER, "10.244.2.0/24", "172.30.0.12") == (
        "10.244.2.0/24 was announced by two.example over BGP; BIRD entered it (proto bird)"
    )
