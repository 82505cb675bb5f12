"""The pools that agents make where a cluster has none: what the definition's rules take."""

from importlib import resources
from typing import Any

import pytest
import yaml

from clew.api.kinds import Kind
from clew.cluster.admission.cel import Rules
from clew.facts.ippool import IPPool
from clew.node.ipam.verdicts import make_first
from clew.store.table import Table

(SCHEMA,) = (
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for crd in yaml.safe_load_all(resources.files("clew.app.manifests").joinpath("pools.yaml").read_text())
    if crd["spec"]["names"]["kind"] == "IPPool"
)


class Server:
    """Takes what it is given, by the rules of the definition."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    async def create(self, kind: Kind, obj: Any, namespace: str = "") -> Any:  # noqa: ARG002 - as clients have it
        assert Rules(SCHEMA).errors(obj, None) == []
        self.made.append(obj)
        return obj


@pytest.mark.parametrize(
    ("cidr", "size"),
    [("10.244.0.0/16", None), ("10.244.0.0/26", None), ("10.244.0.0/28", 28), ("fd00::/64", None), ("fd00::/125", 125)],
)
async def test_a_range_that_is_smaller_than_a_block_is_one(cidr: str, size: int | None) -> None:
    server, table = Server(), Table[IPPool]("ippools")
    table.replace({})
    await make_first(server, table, [cidr])  # the part of a client that is asked here
    (pool,) = server.made
    assert (pool["spec"]["cidr"], pool["spec"].get("blockSize")) == (cidr, size)
