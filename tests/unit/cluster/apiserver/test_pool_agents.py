"""Pools, blocks and nodes that come and go, on the real API server, by agents with watches of their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest

from clew.api import kinds
from clew.compile.ipam import ExhaustedError, UnsuitableError
from clew.watch.client import Client

from .conftest import Kubectl, Running
from .pool_agents import LIMIT, PoolCluster, eventually, pool_cluster


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
    await agent.add("p0")
    await agent.add("p1")

    def counted() -> bool:
        cluster.clock.forward(1)  # it is written now and then
        pool = agent.tables.pools.get(("", "four"))
        return bool(pool and pool.figures and pool.figures.allocated == 2)

    await eventually(counted, "they are counted anew")
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


async def test_pools_that_overlap_never_give_two_pods_one_address(cluster: PoolCluster) -> None:
    """With each other, with Services, with nodes and what their pods may have; and while the one that gives changes."""
    agents = [await cluster.agent("n0"), await cluster.agent("n1")]
    status = {"addresses": [{"type": "InternalIP", "address": "10.9.0.1"}]}
    await cluster.node("foreign", spec={"podCIDRs": ["10.9.0.32/28"]})
    await cluster.admin.patch(kinds.NODE, "foreign", {"status": status}, subresource="status")
    for agent in agents:
        await eventually(
            lambda agent=agent: agent.tables.nodes.get(("", "foreign")).internal_ips, "its address is known"
        )
    await cluster.pool("a", "10.9.0.0/27", blockSize=30)
    await cluster.pool("b", "10.9.0.0/26", blockSize=29)
    await cluster.pool("services", "10.96.8.0/24")
    for name, words in (
        ("b", "overlaps with 10.9.0.0/27 of IPPool a, "),
        ("services", "10.96.0.0/16, the range of Serv"),
    ):
        valid, said = await cluster.condition(name)
        assert (valid, words in said) == ("False", True), said
    assert (await cluster.condition("a")) == ("True", "")
    tried = 0

    async def fill(calls: int, *names: str) -> int:
        """So many calls at once; how many got an address."""
        nonlocal tried
        work = []
        for number in range(calls):
            more = {"pools": {4: (names[number % len(names)],)}} if names and number % 2 else {}
            work.append(agents[number % 2].add(f"p{tried}", **more))
            tried += 1
        found = await asyncio.gather(*work, return_exceptions=True)
        assert not [each for each in found if not isinstance(each, list | ExhaustedError | UnsuitableError)], found
        given = [address for agent in agents for address in agent.addresses]
        assert len(set(given)) == len(given)
        assert not [each for each in given if each == "10.9.0.1" or ip_address(each) in ip_network("10.9.0.32/28")]
        return sum(isinstance(each, list) for each in found)

    async def judged(name: str, valid: bool) -> None:
        for agent in agents:
            await eventually(lambda agent=agent: agent.tables.pools.get(("", name)).valid is valid, f"{name}: {valid}")

    assert await fill(16, "b", "services") == 8, "what names a pool that gives nothing gets nothing"
    await cluster.admin.delete(kinds.IP_POOL, "a")
    await judged("b", True)
    await fill(12, "b")
    await cluster.pool("c", "10.9.0.0/27", blockSize=30)  # no older, and no earlier by its name
    await judged("c", False)
    await fill(60, "b", "c")
    assert {agent.told == [] for agent in agents} == {True}, "nobody is told of an address that another has"
    assert await fill(4) == 0, "to the last one"
    blocks = [block.network for _, block in agents[0].tables.blocks.items()]
    assert not [(x, y) for x in blocks for y in blocks if x != y and x.overlaps(y)]


async def test_a_static_address_from_node_to_node_and_of_many_at_once(cluster: PoolCluster) -> None:
    """As a StatefulSet's pod that is made anew elsewhere before the address of the former one is written off."""
    agents = [await cluster.agent(f"n{number}") for number in range(3)]
    await cluster.pool("a", "10.9.0.0/28", blockSize=30)
    fixed, at = "10.9.0.9", agents[0]
    assert await at.add("web-0", fixed) == [fixed]
    for hop in range(8):
        to = agents[(hop + 1) % 3 if hop % 3 else hop % 3]  # sometimes where it was
        at.remove("web-0")
        async with asyncio.timeout(LIMIT):
            while not to.addresses:  # as a kubelet does
                with suppress(UnsuitableError):
                    await to.add("web-0", fixed)
        assert to.addresses == [fixed]
        at = to
        assert [fixed in agent.addresses for agent in agents].count(True) == 1
    with pytest.raises(UnsuitableError, match=r"in use by an earlier sandbox of pod default/web-0, .* on node n\d$"):
        await next(each for each in agents if each is not at).add("web-0", fixed)
    at.remove("web-0")
    async with asyncio.timeout(LIMIT):
        while True:  # until the former one is written off
            found = await asyncio.gather(
                *(agent.add(f"p{number}", fixed) for agent in agents for number in range(4)), return_exceptions=True
            )
            if winners := [each for each in found if isinstance(each, list)]:
                break
    assert winners == [[fixed]]
    refused = {str(each).partition(" on node ")[0] for each in found if isinstance(each, UnsuitableError)}
    assert len([each for each in found if isinstance(each, UnsuitableError)]) == 11, found
    assert all(f"{fixed} is in use by " in each for each in refused), refused
