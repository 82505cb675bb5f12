"""Where a node's pods get their addresses from, written on its Node: other nodes keep off its spec.podCIDRs until then.

The annotation goes where the agent takes from spec.podCIDRs again. Run by app/agent_pools.py.
"""

import asyncio
import logging

from clew.api import kinds
from clew.base.clock import Clock
from clew.base.errors import WorldError
from clew.facts.node import IPAM_ANNOTATION, Node
from clew.store.table import Table
from clew.watch.client import Client

logger = logging.getLogger(__name__)

RETRY = 1.0  # seconds between two tries, and for the first to be heard of


async def announce(client: Client, nodes: Table[Node], name: str, ipam: str, clock: Clock) -> None:
    """For ever: see to it that the Node says so, whoever changes it; nothing where `ipam` is empty."""
    changed = asyncio.Event()
    nodes.on_change(changed.set)
    said = ""
    while True:
        changed.clear()
        node = nodes.get(("", name))
        if node is None or node.ipam == ipam:
            await changed.wait()
            continue
        try:
            annotations = {"metadata": {"annotations": {IPAM_ANNOTATION: ipam or None}}}
            await client.patch(kinds.NODE, name, annotations, field_manager="clew-agent")
            said = ""
        except WorldError as trouble:
            if str(trouble) != said:
                said = str(trouble)
                logger.warning("cannot say on Node %s where its addresses come from: %s", name, said)
        await clock.sleep(RETRY)
