"""What a node's agent says of itself on its Node, where the agents of other nodes read it. Run by app/agent_*.py."""

import asyncio
import logging
from collections.abc import Callable

from clew.api import kinds
from clew.base.clock import Clock
from clew.base.errors import WorldError
from clew.base.value import Value
from clew.facts.node import Node
from clew.store.table import Table
from clew.watch.client import Client

logger = logging.getLogger(__name__)

RETRY = 1.0  # seconds between two tries, and for the first to be heard of


class Announcement(Value):
    """An annotation and its value ("": the annotation goes); `read`: what a Node says there."""

    annotation: str
    value: str
    read: Callable[[Node], str]


async def announce(client: Client, nodes: Table[Node], name: str, wanted: Announcement, clock: Clock) -> None:
    """For ever: see to it that the Node says so, whoever changes it."""
    changed = asyncio.Event()
    nodes.on_change(changed.set)
    complaint = ""
    while True:
        changed.clear()
        node = nodes.get(("", name))
        if node is None or wanted.read(node) == wanted.value:
            await changed.wait()
            continue
        try:
            annotations = {"metadata": {"annotations": {wanted.annotation: wanted.value or None}}}
            await client.patch(kinds.NODE, name, annotations, field_manager="clew-agent")
            complaint = ""
        except WorldError as trouble:
            if str(trouble) != complaint:
                complaint = str(trouble)
                logger.warning("cannot write %s on Node %s: %s", wanted.annotation, name, complaint)
        await clock.sleep(RETRY)
