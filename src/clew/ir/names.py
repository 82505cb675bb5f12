"""Names that the cluster's DNS answers to, in neutral words; each set carries the object that gives rise to it."""

from typing import Literal

from clew.base.value import Value

RecordType = Literal["A", "AAAA", "CNAME", "PTR", "SRV", "TXT"]


class Record(Value):
    """One record, names without the final dot; data is an address, name, text or `PRIORITY WEIGHT PORT NAME`."""

    name: str
    type: RecordType
    data: str


class NameSet(Value):
    """All that one object gives rise to; it replaces what the same origin gave rise to before."""

    origin: str  # "Service default/web"
    records: tuple[Record, ...]
