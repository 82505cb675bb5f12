"""What a kubelet may expect of a node, of the real supervisor and of the fake alike."""

import asyncio

import pytest

from clew.cluster.runtime.errors import NodeError

from .conftest import LABELS, Node

pytestmark = pytest.mark.root
OBEDIENT = ("sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.05; done")


async def test_a_sandbox_is_made_noted_stopped_and_forgotten(node: Node) -> None:
    made = await node.ask(
        "sandbox_create", sandbox="s", labels=LABELS, notes={"network": {"name": "n"}}, network=True, sysctls={}
    )
    assert made["record"]["state"] == "created"
    assert made["record"]["netns"] == "/run/netns/cni-s"
    started = (await node.start_sandbox("s"))["record"]
    assert started["state"] == "ready"
    assert started["pid"] > 0
    await node.ask("sandbox_note", sandbox="s", notes={"addresses": ["10.0.0.1"]})
    listed = (await node.listed("sandboxes"))["s"]
    assert listed["notes"] == {"network": {"name": "n"}, "addresses": ["10.0.0.1"]}
    await node.ask("sandbox_stop", sandbox="s")
    assert (await node.listed("sandboxes"))["s"]["state"] == "stopped"
    await node.ask("sandbox_remove", sandbox="s")
    await node.ask("sandbox_remove", sandbox="s")  # again is fine
    assert await node.listed("sandboxes") == {}
    assert node.ended == {}  # nobody is told of what he asked for


async def test_a_container_runs_and_its_end_is_told_with_its_code(node: Node) -> None:
    record = await node.run("c", "sh", "-c", "exit 3", log="/var/log/pods/p/c.log")
    assert (record["id"], record["labels"]) == ("c", LABELS)
    ended = await node.end_of("c")
    assert (ended["state"], ended["code"], ended["signal"], ended["pid"]) == ("exited", 3, 0, 0)
    assert ended["finished"] >= ended["started"]
    assert (await node.listed())["c"]["code"] == 3
    await node.ask("remove", container="c")
    assert await node.listed() == {}


async def test_a_signal_reaches_the_first_process(node: Node) -> None:
    await node.run("stubborn", "sleep", "600")
    await node.run("obedient", *OBEDIENT)
    assert await node.ask("kill", container="stubborn", signal=15) == {"sent": True}
    while "obedient" not in node.ended:  # until its trap is set, it ignores the signal too
        await node.ask("kill", container="obedient", signal=15)
        await asyncio.sleep(0.01)
    assert (await node.end_of("obedient"))["code"] == 0
    assert (await node.listed())["stubborn"]["state"] == "running"  # process 1 of a container ignores what it can
    assert await node.ask("kill", container="stubborn", signal=9) == {"sent": True}
    ended = await node.end_of("stubborn")
    assert (ended["code"], ended["signal"]) == (137, 9)
    assert await node.ask("kill", container="stubborn", signal=9) == {"sent": False}


async def test_what_runs_is_not_forgotten_and_what_cannot_run_is_no_record(node: Node) -> None:
    await node.run("c", "sleep", "600")
    with pytest.raises(NodeError, match="is running"):
        await node.ask("remove", container="c")
    with pytest.raises(NodeError, match="no such file or directory"):
        await node.run("no", "/no/program")
    assert list(await node.listed()) == ["c"]


async def test_exec_needs_a_container_that_runs(node: Node) -> None:
    await node.run("c", "sh", "-c", "exit 0")
    await node.end_of("c")
    with pytest.raises(NodeError, match="not running"):
        await node.ask("exec_wait", container="c", argv=["id"], timeout=1)
