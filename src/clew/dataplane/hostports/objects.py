"""The table that this backend owns, in nft's words. Its name is the mark: nothing in another table is touched."""

from typing import Final

from clew.base.value import Value

FAMILY: Final = "inet"
TABLE = "clew-hostports"
LOCALNET = "net.ipv4.conf.{link}.route_localnet"


class Place(Value):
    """What the table is made for: pods are behind `bridge` and behind the links of `group`.

    `services`: ranges of addresses that are services' although the node may carry them, as mode ipvs has it.
    """

    bridge: str
    group: int
    services: tuple[str, ...] = ()


class Elements(Value):
    """A map or set of the table, with the bytes of a key and of a value (0 in a set)."""

    name: str
    key_length: int
    data_length: int


# By family: a port of one of the node's addresses, a port of any of them; and the pods that reach themselves.
OWN = {4: Elements("own4", 12, 8), 6: Elements("own6", 24, 20)}
WHOLE = {4: Elements("any4", 8, 8), 6: Elements("any6", 8, 20)}
SELF = {4: Elements("self4", 8, 0), 6: Elements("self6", 32, 0)}


class Entry(Value):
    """One element of one map or set. `value` is empty in a set."""

    name: str  # of the set
    key: bytes
    value: bytes
