"""Pools, blocks and nodes that come and go, on the real API server, by agents with watches of their own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from clew.api import kinds
from clew.compile.ipam import ExhaustedError
from clew.watch.client import Client

from .conftest import Kubectl, Running
from .pool_agents import PoolCluster, eventually, pool_cluster


@pytest.fixture
async def cluster(running: Running, admin: Client) -> AsyncIterator[PoolCluster]:
    async with pool_cluster(running, admin) as found:
        yield found


async def test_what_kubectl_shows_of_pools_and_blocks(cluster: PoolCluster, kubectl: Kubectl) -> None:
    """The block size was empty where a pool leaves it to its default, and nothing was said of what is used."""
    await cluster.agent("n1")
    agent = await cluster.agent("n0")
    await cluster.pool("four", "10.9.0.0/24")
    await cluster.pool("six", "fd00:9::/48")

    async def shown(what: str, *arguments: str) -> list[list[str]]:
        done = await asyncio.to_thread(kubectl, "get", what, "--no-headers", *arguments)
        return [line.split() for line in done.stdout.splitlines()]

    def figures(name: str) -> object:
        pool = agent.tables.pools.get(("", name))
        return pool and pool.valid and pool.figures

    await eventually(lambda: figures("four") and figures("six"), "both are judged and counted")
    assert await shown("ippools") == [
        ["four", "10.9.0.0/24", "26", "0", "0", "256", "True"],
        ["six", "fd00:9::/48", "122", "0", "0", "2^80", "True"],
    ]
    before = figures("four")
    await agent.add("p0")
    await agent.add("p1")
    cluster.clock.forward(10)
    await eventually(lambda: figures("four") != before, "they are counted anew")
    assert await shown("ippools", "four") == [["four", "10.9.0.0/24", "26", "1", "2", "256", "True"]]
    assert await shown("ippools", "four", "-o", "wide") == [["four", "10.9.0.0/24", "26", "1", "2", "256", "True", "0"]]
    (_, cidr, *block) = (await shown("ipamblocks"))[0]
    assert (cidr.startswith("10.9.0."), block[:5]) == (True, ["n0", "2", "64", "0", "62"])


async def test_a_deleted_node_keeps_what_its_pods_have_and_finds_it_when_it_is_back(cluster: PoolCluster) -> None:
    """Four addresses, all of a node whose Node object is deleted while its machine runs on."""
    one, two = await cluster.agent("n0"), await cluster.agent("n1")
    await cluster.pool("tiny", "10.9.0.0/30", blockSize=30)
    had = {name: (await one.add(name))[0] for name in ("a", "b", "c", "d")}
    for name in ("a", "b"):
        await cluster.pod(name, "n0", had[name])
    await cluster.pod("c", "n0")  # its kubelet has not said yet which address it has
    await cluster.admin.delete(kinds.NODE, "n0")
    await eventually(lambda: ("", "n0") not in two.tables.nodes, "the watch has shown it")

    async def nothing() -> None:
        with pytest.raises(ExhaustedError, match=r"no free address in IPPool tiny"):
            await two.add("late")

    await nothing()
    cluster.clock.forward(61)
    assert await two.add("new") == [had["d"]], "the only one that is no Pod's"
    await nothing()
    await cluster.end_pod("b")
    cluster.clock.forward(6)
    await nothing()
    cluster.clock.forward(50)
    await nothing()
    cluster.clock.forward(11)
    assert await two.add("newer") == [had["b"]]
    await cluster.node("n0")
    await eventually(lambda: ("", "n0") in two.tables.nodes, "it is back")
    cluster.clock.forward(1000)
    await nothing()
    await eventually(lambda: len(one.told) == 2, "the two that lost theirs are told")
    assert {problem.message.partition(" ")[0] for problem in one.told} == {had["b"], had["d"]}
    (block,) = (block for _, block in two.tables.blocks.items())
    held = {block.address(place): (holder.pod, holder.node) for place, holder in block.held}
    assert held == {
        had["a"]: ("default/a", "n0"), had["b"]: ("default/newer", "n1"), had["c"]: ("default/c", "n0"),
        had["d"]: ("default/new", "n1"),
    }  # fmt: skip
    assert block.node == "n0", "and the block is its own, as before"
