"""The headers that docs/design/pod-network.md shows are those on the wire; those of other kernels in the vm lane."""

from pathlib import Path
from typing import Any

import pytest
from tests.ports.node.captures import BACKENDS, HERE, held
from tests.ports.node.headers import shown

pytestmark = pytest.mark.root


@pytest.mark.parametrize("name", HERE)
def test_the_page_shows_what_is_on_the_wire(tmp_path: Path, tools: Any, name: str) -> None:
    held(tmp_path, tools, name)


def test_the_page_shows_each_backend() -> None:
    assert [name for name in BACKENDS if not shown(name)] == []
