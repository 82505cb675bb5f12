"""Blocks of addresses on the real API server: agents that claim at once, over its own versions and conflicts."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from clew.api.kinds import CRD, IP_RESERVATION, IPAM_BLOCK, IPAM_CONFIGURATION, NODE
from clew.app.manifest_objects import ClusterFacts, objects
from clew.base.clock import SystemClock
from clew.compile.ipam import ExhaustedError
from clew.facts import ipamblock
from clew.facts.ippool import IPPool
from clew.node.ipam.book import BlockBook
from clew.node.ipam.claims import BlockClaims, Waits, Want
from clew.node.ipam.ledger import ApiLedger
from clew.node.ipam.view import BlockView
from clew.store.table import Table
from clew.watch.client import Client
from clew.watch.errors import ApiError
from clew.watch.reflector import Reflector

from .conftest import Running

if TYPE_CHECKING:
    from clew.facts.ipamblock import Block

POOL = IPPool("small", "10.9.0.0/27", 29)  # four blocks of eight
FACTS = ClusterFacts(("10.244.0.0/16",), ("10.96.0.0/16",))


async def test_what_holds_for_all_pools_is_refused_by_field(admin: Client) -> None:
    for each in objects(FACTS):
        if each["kind"] == "CustomResourceDefinition":
            await admin.create(CRD, each)
    good = {"kind": "IPReservation", "metadata": {"name": "r"}, "spec": {"reservedCIDRs": ["10.0.0.7", "10.0.1.9/24"]}}
    await admin.create(IP_RESERVATION, {"apiVersion": IP_RESERVATION.api_version, **good})
    made = await admin.create(IPAM_CONFIGURATION, {
        "apiVersion": IPAM_CONFIGURATION.api_version, "kind": "IPAMConfiguration", "metadata": {"name": "default"},
        "spec": {"strictAffinity": True},
    })  # fmt: skip
    assert made["spec"] == {"strictAffinity": True, "autoAllocateBlocks": True, "maxBlocksPerHost": 20}
    for kind, name, spec, words in (
        (IP_RESERVATION, "s", {"reservedCIDRs": ["10.0.0.7", "10.0.0.300"]}, "spec.reservedCIDRs[1]: Invalid value"),
        (IPAM_CONFIGURATION, "mine", {}, "must be default"),
        (IPAM_CONFIGURATION, "default2", {"ipCooldownSeconds": 1201}, "spec.ipCooldownSeconds: Invalid value"),
        (IPAM_CONFIGURATION, "default2", {"maxBlocksPerHost": -1}, "spec.maxBlocksPerHost: Invalid value"),
    ):
        wrong = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}
        with pytest.raises(ApiError) as refused:
            await admin.create(kind, wrong)
        assert words in str(refused.value)


async def test_what_somebody_edited_into_nonsense_ends_nobody(admin: Client) -> None:
    """One such object ended each agent that listed the blocks."""
    for each in objects(FACTS):
        if each["kind"] == "CustomResourceDefinition":
            await admin.create(CRD, each)
    ledger = ApiLedger(admin)
    claims = BlockClaims("n0", BlockBook(ledger, BlockView(Table("blocks"))), SystemClock())
    address = await claims.claim(Want("c0/eth0", "", (POOL,)))
    (block,) = await ledger.every()
    spec: dict[str, Any] = ipamblock.to_api(block)["spec"]
    await admin.patch(IPAM_BLOCK, block.name, {"spec": {"unallocated": []}})
    other = {"name": "10-9-9-0-29"}  # which is not the name of its range
    await admin.create(IPAM_BLOCK, {**ipamblock.to_api(block), "metadata": other, "spec": spec})
    (broken,) = await ledger.every()
    assert "spec.unallocated" in broken.malformed
    assert await ledger.get(other["name"]) is None
    fresh = BlockClaims("n1", BlockBook(ledger, BlockView(Table("blocks"))), SystemClock())
    assert await fresh.claim(Want("c1/eth0", "", (POOL,))) != address
    assert await fresh.settle(dict, [POOL]) != [], "and it is said"


async def test_four_agents_share_four_blocks_to_the_last_address(running: Running, admin: Client) -> None:
    for each in objects(FACTS):
        if each["kind"] == "CustomResourceDefinition":
            await admin.create(CRD, each)
    for at in range(4):  # what belongs to a node that the API server does not know is taken over
        await admin.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"n{at}"}})
    table: Table[Block] = Table("blocks")
    view = BlockView(table)
    watching = asyncio.create_task(
        Reflector(admin, ipamblock.IPAM_BLOCK, ipamblock.decode, table, progress=view.progress).run()
    )
    clients = [running.client() for _ in range(4)]
    ledgers = [ApiLedger(client) for client in clients]
    agents = [
        BlockClaims(f"n{at}", BlockBook(each, BlockView(table)), SystemClock(), waits=Waits(empty=0))
        for at, each in enumerate(ledgers)
    ]
    try:
        await table.wait_in_sync()
        given: list[Any] = await asyncio.gather(
            *(agents[number % 4].claim(Want(f"c{number}/eth0", "", (POOL,))) for number in range(36)),
            return_exceptions=True,
        )
        addresses = [each for each in given if isinstance(each, str)]
        assert len(set(addresses)) == len(addresses) == 32
        assert {type(each) for each in given if not isinstance(each, str)} == {ExhaustedError}
        stored = await ApiLedger(admin).every()
        held = [block.address(place) for block in stored for place, _ in block.held]
        assert sorted(held) == sorted(addresses)
        for agent in agents:
            await agent.settle(dict, [POOL])
        for agent in agents:  # what was lent has come back to its owner by now
            await agent.settle(dict, [POOL])
        assert all(not block.held for block in await ApiLedger(admin).every())
    finally:
        watching.cancel()
        await asyncio.gather(watching, *(client.close() for client in clients), return_exceptions=True)
