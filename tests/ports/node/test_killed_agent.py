"""Ten thousand ADDs and DELs, and the agent killed in the middle of them again and again: no address twice, none lost.

With pools another node's block is there to borrow from, one of a node that is gone to take over, and a reservation.

The agent is a process of its own with its real journal, spool and socket, ended by SIGKILL; its kernel is the stand-in,
which outlives it (killed_agent.py says why). The runtime's side is played as a kubelet does: calls side by side, DEL
after every ADD whose answer it does not know, the plugin itself where there is no agent, so that it leaves tombstones.
CLEW_CALLS chooses another number of calls: CLEW_CALLS=200000 takes ten minutes.
"""

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from array import array
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.ports.node.killed_agent import GONE, KEPT, OTHER, OWN, RESERVED, Outside

from clew.cni import framing
from clew.kernel import netns
from clew.kernel.netlink import Delete, Link
from clew.node.install import PROGRAM
from clew.node.journal import State, decode_lines

pytestmark = pytest.mark.root

CALLS = int(os.environ.get("CLEW_CALLS", "10000"))
PODS = 140  # more than there are addresses
ROUND = 500  # calls between two kills, at most
ORPHANED = 24  # calls after each, while there is no agent
AT_ONCE = 16
ROOM = {
    "podCIDR": 125,
    "pools": 128 - len(KEPT) - 1,
}  # a range keeps network, gateway, broadcast; pools, what others have


async def pause() -> None:
    """Until it is worth while to look again; whoever asks has a limit of his own."""
    await asyncio.sleep(0.005)


class Runtime:
    """What the node's runtime knows of each sandbox, and the agent that it may kill."""

    def __init__(self, folder: Path, kind: str, seed: int) -> None:
        self.folder, self.random = folder, Random(seed)
        self.namespaces = [folder / f"ns{number}" for number in range(PODS)]
        for path in self.namespaces:  # real ones, for the agent takes nothing else; it enters none of them
            netns.create(path)
        self.world = Outside(folder / "world", [path.stat().st_ino for path in self.namespaces])
        code = "import sys; from tests.ports.node import killed_agent; killed_agent.fork_agents(*sys.argv[1:])"
        command = [sys.executable, "-c", code, str(folder), str(folder / "world"), kind]
        root = Path(__file__).parents[3]
        self.log = (folder / "agent.log").open("w")
        self.zygote = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=root
        )
        self.pid = 0
        self.running: dict[int, str] = {}  # by sandbox, the address that it was told
        self.results: dict[int, Any] = {}  # by sandbox, what its last ADD answered
        self.unknown: set[int] = set()  # sandboxes that may or may not be attached
        self.busy: set[int] = set()
        self.done = 0
        self.shrinks = 0.5  # how likely a sandbox that runs is ended
        self.seen: dict[str, int] = {}  # answers by command and code

    def close(self) -> None:
        self.kill()
        assert self.zygote.stdin is not None
        self.zygote.stdin.close()
        self.zygote.wait(60)
        for path in self.namespaces:
            netns.delete(path)
        self.world.close()
        self.log.close()

    def start(self) -> None:
        assert self.zygote.stdin is not None
        assert self.zygote.stdout is not None
        self.zygote.stdin.write("\n")
        self.zygote.stdin.flush()
        self.pid = int(self.zygote.stdout.readline())

    def kill(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(self.pid)
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [], 60)  # until it is gone, and the journal's lock with it
                os.close(handle)
            self.pid = 0

    async def up(self) -> None:
        """Until an agent answers."""
        async with asyncio.timeout(60):
            while await self.ask("STATUS", 0) != (0, {}):
                await pause()

    async def ask(self, command: str, number: int) -> tuple[int, Any] | None:
        """(0 or the error's code, the document); None where there is no agent, or it broke off."""
        kept = {"prevResult": self.results[number]} if command == "CHECK" else {}
        call = framing.encode_call(self.environment(command, number), self.configuration(kept))
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        loop = asyncio.get_running_loop()
        ns = os.open(self.namespaces[number], os.O_RDONLY) if command in {"ADD", "CHECK"} else -1
        try:
            await loop.sock_connect(peer, str(self.folder / "cni.sock"))
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [ns]))] if ns >= 0 else []
            peer.sendmsg([call], rights)
            peer.shutdown(socket.SHUT_WR)
            answer = b""
            while part := await loop.sock_recv(peer, 65536):
                answer += part
        except OSError:
            return None
        finally:
            peer.close()
            if ns >= 0:
                os.close(ns)
        if not answer:
            return None
        found = json.loads(answer[1:]) if len(answer) > 1 else {}
        return (found["code"] if answer[:1] == b"1" else 0), found

    def environment(self, command: str, number: int) -> dict[str, str]:
        return {
            "CNI_COMMAND": command, "CNI_CONTAINERID": f"c{number}", "CNI_NETNS": str(self.namespaces[number]),
            "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=p{number}",
        }  # fmt: skip

    def configuration(self, kept: dict[str, Any]) -> bytes:
        document = {
            "cniVersion": "1.1.0", "name": "clew", "type": "clew-cni", "agentSocket": str(self.folder / "cni.sock"),
            "agentSpool": str(self.folder / "spool"), **kept,
        }  # fmt: skip
        return json.dumps(document).encode()

    async def step(self) -> None:
        """One call for a sandbox that nobody else is at."""
        number = self.random.choice([each for each in range(PODS) if each not in self.busy])
        self.busy.add(number)
        try:
            if number in self.unknown or (number in self.running and self.random.random() < self.shrinks):
                await self.remove(number)
            elif number in self.running:
                answer = await self.ask("CHECK", number)
                assert answer is None or answer[0] == 0, answer
            else:
                await self.add(number)
        finally:
            self.busy.discard(number)
        self.done += 1

    async def add(self, number: int) -> None:
        self.unknown.add(number)
        answer = await self.ask("ADD", number)
        self.count("ADD", answer)
        if answer is None:
            return
        code, found = answer
        assert code in {0, 11, 101}, found
        self.unknown.discard(number)
        if code == 0:
            address = found["ips"][0]["address"]
            assert address not in self.running.values(), f"{address} has two owners"
            assert address.partition("/")[0] not in {*KEPT, *RESERVED.cidrs}, f"{address} is another's"
            self.running[number], self.results[number] = address, found

    async def remove(self, number: int) -> None:
        self.unknown.add(number)
        self.running.pop(number, None)  # from now on another may have the address
        answer = await self.ask("DEL", number)
        if answer is None:  # as a runtime: by the plugin, which leaves a tombstone where there is no agent
            environment = {**self.environment("DEL", number), "PATH": "/usr/bin:/bin"}
            plugin = await asyncio.create_subprocess_exec(
                PROGRAM, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            said, _ = await plugin.communicate(self.configuration({}))
            assert plugin.returncode == 0, said
            answer = -1, {}
        self.count("DEL", answer)
        assert answer[0] in {0, -1}, answer
        if answer[0] == 0 or not self.pid:
            self.unknown.discard(number)  # a tombstone is a promise

    def count(self, command: str, answer: tuple[int, Any] | None) -> None:
        name = f"{command} {'broken off' if answer is None else answer[0]}"
        self.seen[name] = self.seen.get(name, 0) + 1

    async def round(self, calls: int) -> None:
        """Calls side by side; in the middle of them the agent is killed."""
        kill_at = self.done + self.random.randrange(1, calls)
        self.shrinks = self.random.choice([0.15, 0.15, 0.7])

        async def work() -> None:
            while self.done < kill_at + ORPHANED:
                await self.step()
                if self.done >= kill_at:
                    self.kill()

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

    def journal(self) -> dict[int, str]:
        """By sandbox, the address that the disk says it has."""
        records, _ = decode_lines((self.folder / "attachments.log").read_bytes())
        return {int(name[1:]): each.addresses[0] for (name, _), each in State(records).attachments.items()}

    def buried(self) -> set[int]:
        return {int(path.name[1:].partition("@")[0]) for path in (self.folder / "spool").glob("c*")}

    def check(self) -> None:
        """No agent, no call: the disk says what the runtime was told."""
        found = self.journal()
        assert len(set(found.values())) == len(found), "an address twice"
        assert {number: found.get(number) for number in self.running} == self.running, "an address was lost"
        assert found.keys() <= self.running.keys() | self.unknown | self.buried(), "an address is leaked"

    def reboot(self) -> None:
        """Every link is gone, and so is every sandbox."""
        for link in self.world.kernel.links():
            if link.group:
                self.world.kernel.request([Delete(Link(link.name))])
        self.running.clear()
        self.unknown = set(range(PODS))


@pytest.fixture(params=["podCIDR", "pools"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    found = Runtime(tmp_path, request.param, seed=int(os.environ.get("CLEW_SEED", "1")))
    try:
        yield found
    finally:
        found.close()


async def test_no_address_twice_and_none_leaked(runtime: Runtime, request: pytest.FixtureRequest) -> None:
    calls = (
        CALLS if request.node.callspec.params["runtime"] == "podCIDR" else CALLS // 5
    )  # each of which is a write of a block, too
    rounds = 0
    while runtime.done < calls:
        runtime.start()
        await runtime.up()
        await runtime.round(ROUND)
        runtime.kill()
        runtime.check()
        rounds += 1
        if rounds % 9 == 0:
            runtime.reboot()
    runtime.start()
    await runtime.up()
    await every(runtime.remove)
    runtime.seen.pop("ADD 101", None)
    await every(runtime.add)
    assert len(runtime.running) == ROOM[request.node.callspec.params["runtime"]], "each address is to be had again"
    assert runtime.seen["ADD 101"] == PODS - len(runtime.running)
    await every(runtime.remove)
    async with asyncio.timeout(60):
        while runtime.world.ledger.of(OWN.name):
            await pause()
    for node in (OTHER.name, GONE):
        kept = [ip for ip, owner in KEPT.items() if owner == node]
        assert [ip for ip in runtime.world.ledger.of(node) if ip in KEPT] == kept, "what others have is theirs"
    runtime.kill()
    assert runtime.journal() == {}
    assert [link.name for link in runtime.world.kernel.links() if link.group] == []
    assert runtime.buried() == set()
    for what in ("ADD 0", "ADD broken off", "DEL 0", "DEL -1"):
        assert runtime.seen.get(what), f"{what} never came: {runtime.seen}"


async def every(call: Callable[[int], Awaitable[None]]) -> None:
    for number in range(PODS):
        await call(number)
