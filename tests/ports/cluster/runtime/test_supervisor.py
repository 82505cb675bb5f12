"""The real supervisor: isolation, logs, sessions, volumes, and what it remembers when the power has gone."""

import asyncio
import base64
import os
import signal
from pathlib import Path

import pytest

from clew.cluster.runtime.errors import NodeError, NodeLostError
from clew.cluster.runtime.oci import Mount
from clew.cluster.runtime.supervisor.wire import MESSAGE, STDIN, STDIN_END, STDOUT, frame

from .conftest import LABELS, Machine, Node

pytestmark = pytest.mark.root


async def finished(node: Node, identity: str, *argv: str, **more: object) -> list[str]:
    """Its log once it has ended."""
    await node.run(identity, *argv, **more)
    await node.end_of(identity)
    return node.log(identity)


async def real_program(node: Node, script: str) -> str:
    """A shell in the node."""
    done = await node.ask("program", argv=["sh", "-c", script], env=None, stdin="", timeout=60)
    assert (done["code"], done["timed_out"]) == (0, False), done
    return str(done["stdout"])


async def test_containers_share_what_the_pause_process_holds_and_nothing_else(real: Node) -> None:
    sandbox = await real.sandbox("s", hostname="shared")
    script = "for kind in net ipc uts pid mnt; do readlink /proc/self/ns/$kind; done; cat /proc/sys/kernel/hostname"
    await real.run("a", "sh", "-c", f"{script}; cat", sandbox=sandbox, stdin=True)  # it lives on: numbers come again
    second = await finished(real, "b", "sh", "-c", script, sandbox=sandbox)
    first = await real.lines("a", 6)  # it began first, which does not say that it is as far as the second one
    assert first[:3] == second[:3]
    assert not set(first[3:5]) & set(second[3:5])
    assert first[5] == "stdout F shared"


async def test_a_dead_pause_process_is_told_of(real: Node) -> None:
    sandbox = await real.sandbox("s")
    killed = await real.ask("program", argv=["kill", "-9", str(sandbox["pid"])], env=None, stdin="", timeout=60)
    assert killed["code"] == 0
    assert (await real.end_of("s"))["state"] == "lost"


async def test_a_sandbox_removed_while_it_starts_leaves_no_process(real: Node) -> None:
    await real.ask("sandbox_create", sandbox="s", labels=LABELS, notes={}, network=False, sysctls={})
    starting = asyncio.create_task(real.start_sandbox("s"))
    await asyncio.sleep(0)
    await real.ask("sandbox_remove", sandbox="s")
    results = await asyncio.gather(starting, return_exceptions=True)
    if isinstance(results[0], BaseException):
        assert "removed" in str(results[0])
    await real_program(real, "until ! ps -eo args | grep -qx /pause; do :; done")  # killed, it still has to get to die


async def test_output_is_logged_by_stream_to_the_last_byte(real: Node) -> None:
    lines = await finished(real, "c", "sh", "-c", "echo one; echo two >&2; echo -n three")
    assert sorted(lines) == ["stderr F two", "stdout F one", "stdout F three"]
    assert lines.index("stdout F one") < lines.index("stdout F three")
    much = await finished(real, "much", "sh", "-c", "yes 0123456789 | head -c 1100000")
    assert sum(len(line) - len("stdout F ") + 1 for line in much) == 1_100_000


async def test_a_root_file_system_is_its_containers_own(real: Node) -> None:
    script = "ls /bin/sh /new 2>/dev/null; echo x > /new; cat /new"
    assert await finished(real, "a", "sh", "-c", script) == ["stdout F /bin/sh", "stdout F x"]
    assert await finished(real, "b", "sh", "-c", script) == ["stdout F /bin/sh", "stdout F x"]
    assert not (real.root / "new").exists()
    await real.ask("remove", container="a")
    assert not (real.tree / ".node/containers/a").exists()
    assert await finished(real, "a", "sh", "-c", script) == ["stdout F /bin/sh", "stdout F x"] * 2  # the log goes on


async def test_an_exec_has_streams_and_a_code_of_its_own(real: Node) -> None:
    await real.run("c", "sleep", "600")
    done = await real.ask("exec_wait", container="c", argv=["sh", "-c", "echo out; echo err >&2; exit 5"], timeout=60)
    assert (done["code"], sorted(done["output"].split())) == (5, ["err", "out"])
    slow = await real.ask("exec_wait", container="c", argv=["sleep", "60"], timeout=0.2)
    assert slow["timed_out"]
    wanted = {"argv": ["sh", "-c", "cat; exit 6"], "stdin": True, "stdout": True, "stderr": False, "tty": False}
    channel, answer = await real.handle.open("exec", container="c", exec=wanted)
    try:
        assert answer["streams"] == [True, True, False]
        stdin, stdout = channel.fds
        os.write(stdin, b"hello")
        channel.fds = [stdout]
        os.close(stdin)
        assert await asyncio.to_thread(os.read, stdout, 100) == b"hello"
        found = await channel.next()
        assert found is not None
        assert found.message == {"exit": 6}
    finally:
        channel.close()


async def test_who_attaches_sees_the_output_and_gives_the_input(real: Node) -> None:
    await real.run("c", "cat", stdin=True, stdin_once=True)
    channel, _ = await real.handle.open("attach", container="c")
    try:
        await channel.send(frame(STDIN, b"line\n"))
        found = await channel.next()
        assert found is not None
        assert (found.type, found.payload) == (STDOUT, b"line\n")
        await channel.send(frame(STDIN_END))
        told = await channel.next()
        assert told is not None
        assert (told.type, told.message) == (MESSAGE, {"exit": 0})
    finally:
        channel.close()
    assert real.log("c") == ["stdout F line"]


async def test_a_terminal_is_made_and_may_be_attached_to(real: Node) -> None:
    await finished(real, "c", "tty", tty=True)
    assert real.log("c") == ["stdout F /dev/pts/0"]


async def test_the_power_goes_and_what_was_known_is_known(machine: Machine) -> None:
    node = await machine.start()
    await node.ask("sandbox_create", sandbox="s", labels=LABELS, notes={"network": 1}, network=True, sysctls={})
    await node.start_sandbox("s")
    await node.ask("sandbox_note", sandbox="s", notes={"addresses": ["10.0.0.1"]})
    await finished(node, "done", "sh", "-c", "echo said; exit 7")
    await node.run("running", "sleep", "600")
    os.kill(node.handle.pid, signal.SIGKILL)
    await node.handle.wait_lost()
    with pytest.raises(NodeLostError):
        await node.ask("list")

    again = await machine.start()
    assert not again.handle.adopted
    boxes, containers = await again.listed("sandboxes"), await again.listed()
    assert (boxes["s"]["state"], boxes["s"]["notes"]) == ("lost", {"network": 1, "addresses": ["10.0.0.1"]})
    assert (containers["done"]["code"], containers["done"]["reason"]) == (7, "")
    assert (containers["running"]["code"], containers["running"]["reason"]) == (255, "Unknown")
    assert again.log("done") == ["stdout F said"]
    await again.ask("sandbox_remove", sandbox="s")


async def test_another_daemon_adopts_a_node_as_it_is(machine: Machine) -> None:
    first = await machine.start()
    await first.run("c", "sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.02; done")
    await first.handle.close()
    second = await machine.start()
    assert second.handle.adopted
    numbers = [int(line.split()[2]) for line in await second.lines("c", len(second.log("c")) + 3)]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_volumes_change_as_one_and_nothing_leads_out_of_them(real: Node) -> None:
    def entry(text: str) -> dict[str, object]:
        return {"data": base64.b64encode(text.encode()).decode(), "mode": 0o640}

    path = "/var/lib/kubelet/pods/u/volumes/v"
    await real.ask("folder", path=path, mode=0o755, group=None, memory=None)
    assert await real.ask("files", path=path, files={"a": entry("1"), "b/c": entry("2")}, group=1234) == {
        "changed": True
    }
    here = real.tree / path.lstrip("/")
    assert ((here / "a").read_text(), (here / "b/c").read_text()) == ("1", "2")
    assert (str((here / "a").readlink()), (here / "a").stat().st_gid) == ("..data/a", 1234)
    before = (here / "..data").readlink()
    await real.ask("files", path=path, files={"a": entry("1"), "b/c": entry("2")}, group=1234)
    assert (here / "..data").readlink() == before
    await real.ask("files", path=path, files={"a": entry("3")}, group=1234)
    assert (here / "a").read_text() == "3"
    assert sorted(each.name for each in here.iterdir() if not each.name.startswith("..")) == ["a"]
    assert not (here / before).exists()
    for hostile in ("../x", "/x", "a/../../x", "..x"):
        with pytest.raises(NodeError, match="must not lead out"):
            await real.ask("files", path=path, files={hostile: entry("x")}, group=None)


@pytest.mark.parametrize("name", ["../..", "link", "link/below", "a/../../.."])
async def test_a_sub_path_stays_in_its_volume(real: Node, name: str) -> None:
    volume, place = "/var/lib/kubelet/pods/u/v", "/var/lib/kubelet/pods/u/sub"
    await real.ask("folder", path=volume, mode=0o755, group=None, memory=None)
    (real.tree / volume.lstrip("/") / "link").symlink_to("/etc")
    with pytest.raises(NodeError, match="leads out of its volume"):
        await real.ask("sub_path", volume=volume, name=name, place=place)
    await real.ask("sub_path", volume=volume, name="inside", place=place)
    lines = await finished(real, "c", "sh", "-c", "ls /m; echo x > /m/f", mounts=(Mount(place, "/m"),))
    assert lines == []
    assert (real.tree / volume.lstrip("/") / "inside/f").read_text() == "x\n"
    await real.ask("remove_tree", path="/var/lib/kubelet/pods/u")
    assert not (real.tree / "var/lib/kubelet/pods/u").exists()


async def test_the_host_sees_none_of_it(real: Node) -> None:
    """Mounts and processes of a node are its own; the machine's /etc is below the node's, not the node's."""
    await real.sandbox("s")
    await real.run("c", "sleep", "600")
    mounts = Path("/proc/self/mountinfo").read_text()
    assert f"{real.tree}/usr" not in mounts
    assert "rootfs" not in mounts
    wrote = await real.ask(
        "program", argv=["sh", "-c", "echo x > /etc/clew-port-test; id -u"], env=None, stdin="", timeout=60
    )
    assert wrote["code"] == 0
    assert not Path("/etc/clew-port-test").exists()
