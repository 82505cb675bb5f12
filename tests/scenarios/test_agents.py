"""Every page with real packets, programmed by real agents that heard of it from the real API server.

In a mode of this kernel, and in the guest's own.
"""

from collections.abc import Iterator

import pytest

from .agents import Cluster, cluster
from .modes import MODES
from .page import Section
from .test_packets import SECTIONS, play
from .world import World

pytestmark = pytest.mark.root
PLAYED = [
    pytest.param(mode, section, id=f"{mode}:{section}", marks=pytest.mark.lane(MODES[mode].lane))
    for mode in ("nftables", "ipvs")
    for section in sorted(SECTIONS, key=lambda section: str(section.settings))  # agents start anew for other settings
]


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Cluster]]:
    folder = tmp_path_factory.mktemp("agents")
    with World(folder).up() as world, cluster(world, folder) as made:
        yield world, made


@pytest.mark.parametrize(("mode", "section"), PLAYED)
async def test_section(agents: tuple[World, Cluster], mode: str, section: Section) -> None:
    world, made = agents
    async with made.serving(mode, section):
        await play(world, mode, section)
