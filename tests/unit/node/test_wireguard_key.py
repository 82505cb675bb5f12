"""The node's key: made once, kept, refused where it is damaged, and written on the Node whoever takes it off."""

import asyncio
import base64
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clew.base.errors import UserError
from clew.facts.node import KEY_ANNOTATION, Node, from_api
from clew.kernel.wireguard.fake import public_of
from clew.node import wireguard_key
from clew.node.announcement import announce
from clew.store.table import Table
from clew.watch.errors import ApiError


def test_it_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "wireguard.key"
    key = wireguard_key.load(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(key.private)) == 32
    assert key.public == public_of(key.private)
    assert wireguard_key.load(path) == key


@pytest.mark.parametrize("damage", [b"", b"no base64!", base64.b64encode(b"short")])
def test_a_damaged_file_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "wireguard.key"
    path.write_bytes(damage)
    with pytest.raises(UserError, match="holds no WireGuard key"):
        wireguard_key.load(path)
    assert path.read_bytes() == damage


KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


class Server:
    """Takes patches of one Node, after refusing the first."""

    def __init__(self, nodes: Table[Node]) -> None:
        self.nodes = nodes
        self.patches = 0
        self.taken = asyncio.Event()

    async def patch(self, _kind: object, name: str, body: dict[str, Any], **_more: object) -> None:
        self.patches += 1
        if self.patches == 1:
            raise ApiError(403, "Forbidden", "not yet")
        self.nodes.put(("", name), from_api({"metadata": {"name": name, **body["metadata"]}}))
        self.taken.set()


class QuickClock:
    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    async def sleep(self, _seconds: float) -> None:
        await asyncio.sleep(0)


async def test_it_is_published_past_refusals_and_again_when_it_is_taken_off() -> None:
    nodes: Table[Node] = Table("nodes")
    server = Server(nodes)
    wanted = wireguard_key.announcement(KEY)
    running = asyncio.create_task(announce(server, nodes, "one", wanted, QuickClock()))  # type: ignore[arg-type]
    try:
        nodes.put(("", "one"), from_api({"metadata": {"name": "one"}}))
        for taken_off in (False, True):
            if taken_off:
                nodes.put(("", "one"), from_api({"metadata": {"name": "one", "annotations": {KEY_ANNOTATION: "x"}}}))
            async with asyncio.timeout(30):
                await server.taken.wait()
            server.taken.clear()
            found = nodes.get(("", "one"))
            assert found is not None
            assert found.wireguard_key == KEY
        assert server.patches == 3
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
