"""The API server's IPAMBlocks as a ledger: each write takes the place of the version that its writer saw, or fails.

That is all that keeps two nodes from owning one address. `Ledger` is the port, `ApiLedger` the real one; tests put a
simulated API behind the same port. Called by node/ipam/claims.py.
"""

from typing import Protocol

from clew.api.kinds import IPAM_BLOCK, NODE, POD
from clew.facts.ipamblock import Block, from_api, read, to_api
from clew.facts.pod import still_there
from clew.watch.client import Client
from clew.watch.errors import ApiError


class Ledger(Protocol):
    """Everything may raise ApiError; then a write may have happened or not. What nobody can read is not there."""

    async def every(self) -> list[Block]:
        """All blocks, as of one moment after this call began."""
        ...

    async def get(self, name: str) -> Block | None:
        """The newest version."""
        ...

    async def create(self, block: Block) -> Block | None:
        """As stored; None where one of this name is there."""
        ...

    async def update(self, block: Block) -> Block | None:
        """As stored, in place of `block.version`; None where that is not the newest any more."""
        ...

    async def delete(self, block: Block) -> bool:
        """Whether it is gone; False where `block.version` is not the newest any more."""
        ...

    async def has_node(self, name: str) -> bool:
        """Whether there is a Node of this name, asked now."""
        ...

    async def pods_of(self, node: str) -> dict[str, tuple[str, ...]]:
        """By "default/web", what addresses each Pod says it has that is bound to a node, asked now."""
        ...


class ApiLedger:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def every(self) -> list[Block]:
        found = []
        async for page in self._client.pages(IPAM_BLOCK):
            found += [block for raw in page.items if (block := read(bytes(raw))) is not None]
        return found

    async def get(self, name: str) -> Block | None:
        try:
            return read(await self._client.get(IPAM_BLOCK, name))
        except ApiError as refusal:
            if refusal.not_found:
                return None
            raise

    async def create(self, block: Block) -> Block | None:
        try:
            return from_api(await self._client.create(IPAM_BLOCK, to_api(block)))
        except ApiError as refusal:
            if refusal.already_exists:
                return None
            raise

    async def update(self, block: Block) -> Block | None:
        try:
            return from_api(await self._client.update(IPAM_BLOCK, to_api(block)))
        except ApiError as refusal:
            if refusal.conflict or refusal.not_found:
                return None
            raise

    async def delete(self, block: Block) -> bool:
        try:
            await self._client.delete(IPAM_BLOCK, block.name, uid=block.uid, resource_version=block.version)
        except ApiError as refusal:
            if refusal.conflict:
                return False
            if not refusal.not_found:
                raise
        return True

    async def has_node(self, name: str) -> bool:
        try:
            await self._client.get(NODE, name)
        except ApiError as refusal:
            if refusal.not_found:
                return False
            raise
        return True

    async def pods_of(self, node: str) -> dict[str, tuple[str, ...]]:
        found = {}
        async for page in self._client.pages(POD, fields=f"spec.nodeName={node}"):
            pods = [still_there(bytes(raw)) for raw in page.items]
            found.update({f"{pod.namespace}/{pod.name}": pod.ips for pod in pods})
        return found
