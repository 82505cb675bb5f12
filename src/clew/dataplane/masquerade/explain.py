"""Why a packet did or did not keep its source, in one sentence. Pure."""

from clew.dataplane.masquerade.objects import FAMILY, TABLE, NatTable
from clew.dataplane.masquerade.simulate import deciding_rule


def explain(table: NatTable, source: str, destination: str) -> str:
    rule = deciding_rule(table, source, destination)
    if rule is not None:
        return (
            f"{source} leaves under the node's address: {destination} is neither a pod nor a node of the cluster"
            f" (table {FAMILY} {TABLE}, from {table.origin})"
        )
    return f"{source} keeps its address on the way to {destination} (table {FAMILY} {TABLE}, from {table.origin})"
